package files

import (
	"net/http"
	"time"
)

// piece is the number of bytes between two extensions of the write deadline.
const piece = 4 << 20

// pace divides a body into pieces.
type pace struct {
	w       http.ResponseWriter
	timeout time.Duration
	conn    *conn // nil if it is not known: then writes block
	room    int64 // bytes that the socket takes
	due     int64 // bytes until the deadline is extended
}

// pace begins with a deadline that was just set.
func (s *Sender) pace(w http.ResponseWriter, r *http.Request) *pace {
	return &pace{w: w, timeout: s.timeout, conn: connOf(r), due: piece}
}

// next returns how many of the next n bytes to write before the deadline is extended.
func (p *pace) next(n int64) int64 {
	if p.due <= 0 {
		// Ignore writers without deadlines (tests).
		_ = http.NewResponseController(p.w).SetWriteDeadline(time.Now().Add(p.timeout))
		p.due = piece
	}
	return min(n, p.due)
}

// fit is next for a write that must not block. If the socket is full, it waits until a
// part of it is free. The caller should hold no buffer meanwhile.
func (p *pace) fit(n int64) (int64, error) {
	n = p.next(n)
	if p.conn == nil {
		return n, nil
	}
	if p.room < min(n, small) {
		room, err := p.conn.space()
		if err != nil {
			return 0, err
		}
		p.room = room
	}
	return min(n, p.room), nil
}

// wrote counts n bytes that were written.
func (p *pace) wrote(n int64) {
	p.due -= n
	p.room -= n
}
