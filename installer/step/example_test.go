package step_test

import (
	"encoding/json"
	"fmt"

	"github.com/offk8s/offk8s/installer/step"
)

// The operator's side sends steps as JSON; the agent decodes and validates them.
func ExampleKinds_Decode() {
	sent := step.Item{
		ID: "time/config", Why: "certificates need the right time",
		Step: &step.File{Path: "/etc/chrony.conf", Content: "server 10.0.0.1 iburst\n"},
	}
	b, err := json.Marshal(sent)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", b)
	received, err := step.All().Decode(b)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(received.Step.Describe())
	// Output:
	// {"id":"time/config","why":"certificates need the right time","kind":"file","spec":{"path":"/etc/chrony.conf","content":"server 10.0.0.1 iburst\n"}}
	// file /etc/chrony.conf 0644
}
