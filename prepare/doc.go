// Package prepare makes a plan's directories and files true on this machine, as the
// identity that the children get, before any of them starts. [Reader.LookAt] only reads;
// everything else writes. It knows files and users and nothing of authentik.
package prepare
