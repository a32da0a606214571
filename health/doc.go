// Package health answers Kubernetes' three questions about one service, and asks
// them.
//
//   - live: would a restart help? Before the service has been ready once only where its
//     own processes show that it never will be, and never while it stops: an orderly stop
//     is not shot.
//   - started: has it been ready once, and is it live?
//   - ready: does it answer its own ready question now?
//
// Nothing is probed unless somebody asks: [Monitor] probes when asked, each probe once at
// a time, and shares an answer for a moment. The question and the answer travel as
// one line each over a unix socket ([Serve], [Ask]), which costs a health check
// about what an empty program costs.
package health
