package health

import (
	"fmt"
	"strings"
)

// What goes over the socket: the asker writes one line, the question; it hears one
// line, and the connection closes. Both are bounded, and a reader that knows only
// these lines needs no library to ask.
//
//	live\n
//	yes server ready\n
//	no server degraded: connection refused, for 31s now\n
const (
	maxQuestion = 64
	maxAnswer   = 1024
)

func parseQuestion(line string) (Question, error) {
	switch q := Question(strings.TrimSuffix(line, "\n")); q {
	case Live, Ready, Started:
		return q, nil
	default:
		return "", fmt.Errorf("unknown question %.20q", string(q))
	}
}

// String is the answer as a person reads it.
func (a Answer) String() string {
	s := a.Service + " " + string(a.Phase)
	if a.Reason != "" {
		s += ": " + a.Reason
	}
	return s
}

func (a Answer) line() string {
	word := "no "
	if a.Healthy {
		word = "yes "
	}
	s := strings.NewReplacer("\n", " ", "\r", " ").Replace(a.String())
	if limit := maxAnswer - len(word) - 1; len(s) > limit {
		s = s[:limit]
	}
	return word + s + "\n"
}

func parseAnswer(line string) (Answer, error) {
	whole, ended := strings.CutSuffix(line, "\n")
	word, rest, _ := strings.Cut(whole, " ")
	service, rest, _ := strings.Cut(rest, " ")
	phase, reason, _ := strings.Cut(rest, ": ")
	if (word != "yes" && word != "no") || service == "" || phase == "" || !ended || strings.ContainsAny(whole, "\r\n") {
		return Answer{}, fmt.Errorf("the answer makes no sense: %.40q", line)
	}
	return Answer{Healthy: word == "yes", Service: service, Phase: Phase(phase), Reason: reason}, nil
}
