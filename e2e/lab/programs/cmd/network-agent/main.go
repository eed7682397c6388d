// Command network-agent is a node's pod network: it says to the container runtime which addresses this node's pods have, and to the
// kernel by which node the others' are reached. It expects all nodes on one link.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	configurationFile = "/etc/cni/net.d/10-lab.conflist"
	// After a failure: the API server may be starting.
	pause = time.Second
)

type node struct {
	Metadata struct {
		Name            string
		ResourceVersion string
	}
	Spec   struct{ PodCIDR string }
	Status struct {
		Addresses []struct{ Type, Address string }
	}
}

// agent is what one node does.
type agent struct {
	name   string
	subnet string
}

func main() {
	self := agent{name: os.Getenv("NODE_NAME"), subnet: os.Getenv("POD_SUBNET")}
	api, err := newAPI()
	if err != nil {
		log.Fatal(err)
	}
	for ; ; time.Sleep(pause) {
		if err := self.masquerade(); err != nil {
			log.Print(err)
			continue
		}
		log.Print(api.followNodes(context.Background(), self.apply))
	}
}

// apply takes what is known of one node into this one's configuration.
func (self agent) apply(other node) error {
	switch {
	case other.Spec.PodCIDR == "":
		return nil
	case other.Metadata.Name == self.name:
		return configure(other.Spec.PodCIDR)
	}
	for _, address := range other.Status.Addresses {
		if address.Type == "InternalIP" {
			return run("ip", "route", "replace", other.Spec.PodCIDR, "via", address.Address)
		}
	}
	return nil
}

// configure writes the file by which the container runtime makes this node's pods' interfaces; whole or not at all.
func configure(addresses string) error {
	ipam := map[string]any{
		"type": "host-local", "dataDir": "/run/cni-ipam",
		"routes": []any{map[string]string{"dst": "0.0.0.0/0"}},
		"ranges": []any{[]any{map[string]string{"subnet": addresses}}},
	}
	text, err := json.Marshal(map[string]any{
		"cniVersion": "1.0.0", "name": "lab",
		"plugins": []any{
			map[string]any{"type": "ptp", "ipMasq": false, "ipam": ipam},
			map[string]any{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}},
		},
	})
	if err != nil {
		return err
	}
	if known, err := os.ReadFile(configurationFile); err == nil && string(known) == string(text) {
		return nil
	}
	if err := os.WriteFile(configurationFile+".new", text, 0o644); err != nil {
		return err
	}
	log.Print("pods of this node: ", addresses)
	return os.Rename(configurationFile+".new", configurationFile)
}

// masquerade lets pods reach what is not a pod under their node's address.
func (self agent) masquerade() error {
	rule := []string{"POSTROUTING", "-t", "nat", "-s", self.subnet, "!", "-d", self.subnet, "-j", "MASQUERADE"}
	if run("iptables", append([]string{"-C"}, rule...)...) == nil {
		return nil
	}
	return run("iptables", append([]string{"-A"}, rule...)...)
}

func run(program string, arguments ...string) error {
	if output, err := exec.Command(program, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(arguments, " "), err, output)
	}
	return nil
}
