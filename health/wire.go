package health

import (
	"errors"
	"fmt"
	"strings"
)

// What goes over the socket: the asker writes one line, the question; it hears one
// line for each service, and the connection closes. All are bounded, and a reader that
// knows only these lines needs no library to ask.
//
//	live\n
//	yes server ready\n
//	no worker degraded: connection refused, for 31s now\n
//
// To "status\n" the reply is one line of JSON.
const (
	maxQuestion    = 64
	maxAnswer      = 1024
	maxReply       = 64 << 10
	statusQuestion = "status"
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

// parseReply reads the answers of all services.
func parseReply(reply string) ([]Answer, error) {
	var answers []Answer
	for line := range strings.Lines(reply) {
		a, err := parseAnswer(line)
		if err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	if len(answers) == 0 {
		return nil, errors.New("ak-init hung up without an answer")
	}
	return answers, nil
}

func parseAnswer(line string) (Answer, error) {
	whole, ended := strings.CutSuffix(line, "\n")
	word, rest, _ := strings.Cut(whole, " ")
	service, rest, _ := strings.Cut(rest, " ")
	phase, reason, _ := strings.Cut(rest, ": ")
	sense := (word == "yes" || word == "no") && service != "" && phase != ""
	if !sense || !ended || len(line) > maxAnswer || strings.ContainsAny(whole, "\r\n") {
		return Answer{}, fmt.Errorf("the answer makes no sense: %.40q", line)
	}
	return Answer{Healthy: word == "yes", Service: service, Phase: Phase(phase), Reason: reason}, nil
}
