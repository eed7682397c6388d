package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const configuration = `{"hostname":"lab-worker","process":{"capabilities":{"bounding":["CAP_CHOWN","CAP_SYS_RESOURCE"]}},` +
	`"linux":{"resources":{"memory":{"limit":9223372036854771712}}}}`

func write(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func read(t *testing.T, file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAMissingCapabilityIsNotAskedFor(t *testing.T) {
	file := write(t)
	drop := func(bounding uint64) func(object) error {
		return func(content object) error { return dropMissing(content["process"].(object), bounding) }
	}
	if err := change(file, drop(1<<24)); err != nil || !strings.Contains(read(t, file), `"CAP_SYS_RESOURCE"`) {
		t.Fatal(err, read(t, file))
	}
	if err := change(file, drop(1)); err != nil || !strings.Contains(read(t, file), `"bounding":["CAP_CHOWN"]`) {
		t.Fatal(err, read(t, file))
	}
}

func TestNumbersStayWhole(t *testing.T) {
	file := write(t)
	if err := change(file, func(object) error { return nil }); err != nil || !strings.Contains(read(t, file), "9223372036854771712") {
		t.Fatal(err, read(t, file))
	}
}

func TestOptionsAreFoundInEverySpelling(t *testing.T) {
	for _, arguments := range [][]string{{"create", "--bundle", "/b"}, {"--bundle=/b", "create"}, {"run", "-b", "/b"}} {
		if value := valueOf(arguments, "--bundle", "-b"); value != "/b" {
			t.Fatal(arguments, value)
		}
	}
}
