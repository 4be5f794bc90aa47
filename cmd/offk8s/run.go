package main

import (
	"slices"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
)

// clusterRun is what people see of a run: its display, its log and its slowest step.
type clusterRun struct {
	progresses
	end     func() // ends the display
	log     *runLog
	slowest slowest
	// logFile is the path of the log, "" if there is none.
	logFile string
}

// startRun begins a run of a command on a cluster. The log is in the state directory
// dir; if dir is empty, there is none.
func (a *app) startRun(command, cluster, dir string) *clusterRun {
	display, end := a.newRunProgress()
	r := &clusterRun{end: end}
	r.progresses = progresses{display, &r.slowest}
	if dir == "" {
		return r
	}
	log, err := openRunLog(dir, time.Now)
	if err != nil {
		a.warnf("log of this run: %v", err)
	}
	if log != nil {
		r.log, r.logFile = log, log.file.Name()
		r.progresses = append(r.progresses, log)
		log.emit(runEvent{"event": "run", "command": command, "cluster": cluster, "version": version()})
		a.notef("log of this run: %s", r.logFile)
	}
	return r
}

// stage shows work before the plan as the stage of that name. Other output may follow.
func (r *clusterRun) stage(name string, hosts int, work func() error) error {
	all := stage.Install().Stages
	s := all[slices.IndexFunc(all, func(s stage.Stage) bool { return s.Name == name })]
	began := time.Now()
	r.StageStart(s.Name, s.Title, hosts)
	err := work()
	r.StageEnd(installer.StageReport{Name: s.Name, Title: s.Title, Took: time.Since(began), Failed: hostsOf(err)})
	if v, ok := r.progresses[0].(*runView); ok {
		v.pause()
	}
	return err
}

// hostsOf returns the hosts that err names.
func hostsOf(err error) []string {
	switch e := err.(type) {
	case *installer.HostError:
		return []string{e.Host}
	case interface{ Unwrap() error }:
		return hostsOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []string
		for _, err := range e.Unwrap() {
			out = append(out, hostsOf(err)...)
		}
		return out
	}
	return nil
}

// finish ends the display and the log of a run that ended with err.
func (r *clusterRun) finish(err error) {
	r.end()
	if r.log == nil {
		return
	}
	e := runEvent{"event": "end"}
	if err != nil {
		code, hint := classify(err)
		e["code"], e["error"], e["hint"] = code, err.Error(), hint
	}
	r.log.emit(e)
	_ = r.log.file.Close() // the run is over, and its outcome does not depend on the log
}

// slowest is the step of a run that took the most time.
type slowest struct {
	mu   sync.Mutex
	step slowStep
}

type slowStep struct {
	Host    string  `json:"host"`
	ID      string  `json:"id"`
	Seconds float64 `json:"seconds"`
}

func (s *slowest) StageStart(string, string, int) {}

func (s *slowest) StageEnd(installer.StageReport) {}

func (s *slowest) Event(_, host string, e agent.Event) {
	if e.Type != agent.EventStep {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if took := e.Took.Seconds(); took > s.step.Seconds {
		s.step = slowStep{host, e.ID, took}
	}
}
