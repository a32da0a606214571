#include "textflag.h"

#define SYS_rt_sigaction 134
#define SYS_rt_sigprocmask 135
#define SYS_exit_group 94

#define SIGINT 2
#define SIGQUIT 3
#define SIGTERM 15

// The kernel's struct sigaction: handler, flags, restorer, mask.
DATA ends<>+0(SB)/8, $end<>(SB)
GLOBL ends<>(SB), RODATA, $32

// rt_sigaction(sig, &action, NULL, 8): 8 bytes are the kernel's set of signals. It fails
// on no signal that is used here.
#define SIGACTION(sig) \
	MOVD	$sig, R0 \
	MOVD	$ends<>(SB), R1 \
	MOVD	$0, R2 \
	MOVD	$8, R3 \
	MOVD	$SYS_rt_sigaction, R8 \
	SVC

// The signals of canWait in signals_linux.go: bit n-1 is signal n.
DATA forLater<>+0(SB)/8, $0x38002A00
GLOBL forLater<>(SB), RODATA|NOPTR, $8

// func entry()
//
// RSP points at argc, as execve left it. _rt0_arm64 (Go's runtime/asm_arm64.s) looks at
// nothing else, so that every other register is free.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0-0
	SIGACTION(SIGTERM)
	SIGACTION(SIGINT)
	SIGACTION(SIGQUIT)
	MOVD	$0, R0 // SIG_BLOCK
	MOVD	$forLater<>(SB), R1
	MOVD	$0, R2
	MOVD	$8, R3
	MOVD	$SYS_rt_sigprocmask, R8
	SVC
	B	_rt0_arm64_linux(SB)

// end is a signal handler: R0 is the signal, the stack may be any.
TEXT end<>(SB),NOSPLIT|NOFRAME,$0-0
	ADD	$128, R0
	MOVD	$SYS_exit_group, R8
	SVC
	BRK // not reached
