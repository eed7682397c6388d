// Command container-runtime stands between the container engine and runc: a capability that this machine does not have at all is not
// asked for, since with it no privileged container would start. It takes the arguments of runc, and runs runc in its place.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

const runc = "/usr/sbin/runc"

type object = map[string]any

func main() {
	if err := prepare(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "container-runtime:", err)
		os.Exit(1)
	}
	err := syscall.Exec(runc, append([]string{"runc"}, os.Args[1:]...), os.Environ())
	fmt.Fprintln(os.Stderr, "container-runtime:", runc, err)
	os.Exit(1)
}

// prepare changes the files that the arguments name: a bundle's configuration, or the process of an exec.
func prepare(arguments []string) error {
	bounding, err := boundingSet()
	if err != nil {
		return err
	}
	if file := valueOf(arguments, "--process", "-p"); file != "" {
		return change(file, func(process object) error { return dropMissing(process, bounding) })
	}
	bundle := valueOf(arguments, "--bundle", "-b")
	if bundle == "" {
		return nil
	}
	return change(bundle+"/config.json", func(configuration object) error {
		process, ok := configuration["process"].(object)
		if !ok {
			return nil
		}
		return dropMissing(process, bounding)
	})
}

// valueOf gives the value of an option in either of its spellings, or nothing.
func valueOf(arguments []string, long, short string) string {
	for i, argument := range arguments {
		if value, ok := strings.CutPrefix(argument, long+"="); ok {
			return value
		}
		if (argument == long || argument == short) && i+1 < len(arguments) {
			return arguments[i+1]
		}
	}
	return ""
}

func change(file string, by func(object) error) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var content object
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	// Limits are 64-bit numbers; a floating-point one would not keep them.
	decoder.UseNumber()
	if err := decoder.Decode(&content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := by(content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	changed, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(file, changed, 0o600)
}

// dropMissing removes from a process's capabilities those that are not in the bounding set.
func dropMissing(process object, bounding uint64) error {
	sets, ok := process["capabilities"].(object)
	if !ok {
		return nil
	}
	for name, set := range sets {
		asked, ok := set.([]any)
		if !ok {
			return fmt.Errorf("capabilities.%s is not a list", name)
		}
		had := []any{}
		for _, capability := range asked {
			if number, known := missable[fmt.Sprint(capability)]; !known || bounding&(1<<number) != 0 {
				had = append(had, capability)
			}
		}
		sets[name] = had
	}
	return nil
}

// missable are the capabilities that machines are known to be without, with their numbers (capabilities(7)).
var missable = map[string]uint{"CAP_SYS_RESOURCE": 24}

// boundingSet reads the capabilities that processes here can have at most.
func boundingSet() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if digits, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			return strconv.ParseUint(strings.TrimSpace(digits), 16, 64)
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no CapBnd")
}
