package bench

import (
	"slices"
	"syscall"
	"testing"
	"time"
)

// cost is the time of one run, in seconds.
type cost struct{ wall, cpu float64 }

// compare runs offk8s and what it is measured against in turn, b.N rounds, on
// the same data, and reports the medians in seconds and as ratios ("wall-x",
// "cpu-x": below 1 is better than the peer), with the spread of the ratio of
// wall time. One round before them warms up and does not count.
func compare(b *testing.B, ours, peer func()) {
	b.Helper()
	rounds(b, func() cost { return measure(ours, cpuSeconds) }, func() cost { return measure(peer, cpuSeconds) })
}

func rounds(b *testing.B, ours, peer func() cost) {
	b.Helper()
	ours()
	peer()
	var us, them []cost
	var ratios []float64
	for b.Loop() {
		o, p := ours(), peer()
		us, them = append(us, o), append(them, p)
		ratios = append(ratios, o.wall/p.wall)
	}
	wall := func(c cost) float64 { return c.wall }
	cpu := func(c cost) float64 { return c.cpu }
	b.ReportMetric(0, "ns/op") // of both together: means nothing
	b.ReportMetric(median(us, wall), "wall-s")
	b.ReportMetric(median(us, cpu), "cpu-s")
	b.ReportMetric(median(us, wall)/median(them, wall), "wall-x")
	b.ReportMetric(median(us, cpu)/median(them, cpu), "cpu-x")
	b.ReportMetric(slices.Min(ratios), "min-x")
	b.ReportMetric(slices.Max(ratios), "max-x")
}

// measure returns the cost of f by the clock cpu.
func measure(f func(), cpu func() float64) cost {
	start, before := time.Now(), cpu()
	f()
	return cost{time.Since(start).Seconds(), cpu() - before}
}

// cpuSeconds is the time of this process and of the children that it waited for.
func cpuSeconds() float64 {
	var sum float64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			panic(err) // who is right and u is ours: cannot fail
		}
		for _, t := range []syscall.Timeval{u.Utime, u.Stime} {
			sum += float64(t.Sec) + float64(t.Usec)/1e6
		}
	}
	return sum
}

func median(list []cost, of func(cost) float64) float64 {
	var v []float64
	for _, c := range list {
		v = append(v, of(c))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
