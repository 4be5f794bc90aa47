package mirror

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/pprof"
	"time"
)

// adminHandler serves metrics and profiles on the loopback listener.
func (s *Server) adminHandler(l *limit) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := s.now().WriteMetrics(w); err != nil {
			return // the client is gone
		}
		s.writeMetrics(w, l)
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// certificateExpiry returns the end of the server certificate, or the zero time
// without TLS.
func (s *Server) certificateExpiry() time.Time {
	if s.TLS == nil {
		return time.Time{}
	}
	var cert *tls.Certificate
	switch {
	case s.TLS.GetCertificate != nil:
		if c, err := s.TLS.GetCertificate(&tls.ClientHelloInfo{}); err == nil {
			cert = c
		}
	case len(s.TLS.Certificates) > 0:
		cert = &s.TLS.Certificates[0]
	}
	if cert == nil || len(cert.Certificate) == 0 {
		return time.Time{}
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return time.Time{}
	}
	return leaf.NotAfter
}
