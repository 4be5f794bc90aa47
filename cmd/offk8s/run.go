package main

import (
	"os"
	"slices"
	"sync"
	"time"

	"github.com/offk8s/offk8s/installer"
	"github.com/offk8s/offk8s/installer/agent"
	"github.com/offk8s/offk8s/installer/stage"
)

// clusterRun is the visible side of a run: its display, its log and its slowest step.
type clusterRun struct {
	progresses
	end     func() // ends the display
	log     *runLog
	slowest slowest
	// logFile is the path of the log, "" if there is none.
	logFile string
}

// startRun begins a run of a command on a cluster. Its log comes to nothing unless
// keepLog is called.
func (a *app) startRun(command, cluster string) *clusterRun {
	display, end := a.newRunProgress()
	r := &clusterRun{end: end, log: newRunLog(time.Now)}
	r.progresses = progresses{display, &r.slowest, r.log}
	r.log.emit(runEvent{"event": "run", "command": command, "cluster": cluster, "version": version()})
	return r
}

// keepLog keeps the log in the state directory dir. An error is only a warning: the
// cluster matters more.
func (a *app) keepLog(r *clusterRun, dir string) {
	path, err := r.log.keep(dir)
	if err != nil {
		a.warnf("log of this run: %v", err)
	}
	if path != "" {
		r.logFile = path
		a.notef("log of this run: %s", path)
	}
}

// finishRun ends the display and the log of a run that ended with err. A run that ended
// before it was known where its log belongs has it in dir, if that is a directory.
func (a *app) finishRun(r *clusterRun, dir string, err error) {
	r.end()
	if st, serr := os.Stat(dir); r.logFile == "" && serr == nil && st.IsDir() {
		a.keepLog(r, dir)
	}
	e := runEvent{"event": "end"}
	if err != nil {
		code, hint := classify(err)
		e["code"], e["error"], e["hint"] = code, err.Error(), hint
	}
	r.log.emit(e)
	if r.log.file != nil {
		_ = r.log.file.Close() // the run is over, and its outcome does not depend on the log
	}
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
