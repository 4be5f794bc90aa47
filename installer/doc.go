// Package installer turns hosts into a cluster.
//
//	f, err := installer.Connect(ctx, cluster, connectOptions)   // every host, agent in place
//	m, err := installer.OpenMirror(ctx, cluster.Mirror, keys)   // verified Lock
//	in, checks, err := f.Look(ctx, phase.Input{Cluster: cluster, Lock: m.Lock, …})
//	plan, err := installer.NewPlan(in, phase.All())             // pure
//	report, err := installer.Run(ctx, plan, f, runOptions)      // or its dry run
//	report, err := installer.Reset(ctx, f, cluster.Name, resetOptions)
//
// A Plan is data: phases in order, per host a list of steps with reasons. Run
// hands each host its steps of one phase at a time; the agent there compares
// and applies (installer/agent). All hosts end a phase before the next begins,
// so a phase may rely on what the one before did on other hosts. A host that
// fails ends the run after its phase, the others finish theirs.
package installer
