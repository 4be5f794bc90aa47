// Package agent is the part of offk8s that runs on a host. It reads one Request from
// standard input, executes it and streams Events to standard output.
//
//	operator ──Request──▶ agent ──Check, Apply, Undo──▶ host
//	         ◀──Events───
//
// Before it applies anything, the agent fetches index.json and the Lock of the bundle
// from the mirror and verifies them with the operator's public key. It verifies every
// artifact against that Lock, so that it need not trust the mirror and the network.
// A journal in StateDir records the state before each change; Undo restores it. It counts
// generations, the runs that changed what is wanted, and has what a step was in the one
// before. What a plan no longer has is undone, except for what another step of it needs.
//
// The agent knows neither stages nor the layout of the cluster: the Request has all
// the steps.
package agent
