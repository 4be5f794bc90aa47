// Package installer turns hosts into a cluster. One call follows the other:
//
//	Connect          connects to every host and installs the agent's program
//	OpenMirror       verifies the bundle that the mirror serves
//	Fleet.Preflight  collects facts and checks the hosts
//	NewPlan          computes the steps of every host
//	Run              applies them, or compares only (dry run)
//	Reset            restores the state before
//
// A Plan is data: stages in order, and per host a list of steps with reasons. Run
// sends each host its steps of one stage at a time; the agent there
// (installer/agent) compares and applies them. All hosts end a stage before the
// next one begins, so that a stage may rely on the stages before it on all hosts.
//
// A stage runs on all its hosts at the same time, on any one of them, or, if its
// services run already, on a few after each other between gates: observations that
// must hold before and after each change. Run has one loop for all of them.
// If a host fails, the others finish the stage. The run ends then, or goes on without
// the host if the cluster works without it.
package installer
