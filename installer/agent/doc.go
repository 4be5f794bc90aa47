// Package agent is the part of offk8s that runs on a host: it reads one Request
// from its standard input, does the work and streams Events to its standard output.
//
//	operator ──Request──▶ agent ──Check, Apply, Undo──▶ host
//	         ◀──Events───
//
// Before anything is applied the agent fetches index.json and the Lock of the
// bundle from the mirror and verifies them with the public key that the operator
// sent along; every artifact is verified against that Lock, so the mirror and
// the network to it need not be trusted. What was there before each change is
// kept in a journal in StateDir, from which Undo restores it.
//
// It knows no phases and no cluster layout: what to do comes in the Request.
package agent
