#include "textflag.h"

#define SYS_rt_sigaction 13
#define SYS_rt_sigprocmask 14
#define SYS_exit_group 231

#define SIGINT 2
#define SIGQUIT 3
#define SIGTERM 15

// The kernel's struct sigaction: handler, flags, restorer, mask. x86-64 refuses to call a
// handler without a restorer, which is where it would return to; end never returns.
#define SA_RESTORER 0x04000000
DATA ends<>+0(SB)/8, $end<>(SB)
DATA ends<>+8(SB)/8, $SA_RESTORER
DATA ends<>+16(SB)/8, $end<>(SB)
GLOBL ends<>(SB), RODATA, $32

// rt_sigaction(sig, &action, NULL, 8): 8 bytes are the kernel's set of signals. It fails
// on no signal that is used here.
#define SIGACTION(sig) \
	MOVL	$sig, DI \
	LEAQ	ends<>(SB), SI \
	XORL	DX, DX \
	MOVL	$8, R10 \
	MOVL	$SYS_rt_sigaction, AX \
	SYSCALL

// The signals of canWait in signals_linux.go: bit n-1 is signal n.
DATA forLater<>+0(SB)/8, $0x38002A00
GLOBL forLater<>(SB), RODATA|NOPTR, $8

// func entry()
//
// SP points at argc, as execve left it. _rt0_amd64 (Go's runtime/asm_amd64.s) looks at
// nothing else, so that every other register is free.
TEXT ·entry(SB),NOSPLIT|NOFRAME,$0-0
	SIGACTION(SIGTERM)
	SIGACTION(SIGINT)
	SIGACTION(SIGQUIT)
	MOVL	$0, DI // SIG_BLOCK
	LEAQ	forLater<>(SB), SI
	XORL	DX, DX
	MOVL	$8, R10
	MOVL	$SYS_rt_sigprocmask, AX
	SYSCALL
	JMP	_rt0_amd64_linux(SB)

// end is a signal handler: DI is the signal, the stack may be any.
TEXT end<>(SB),NOSPLIT|NOFRAME,$0-0
	ADDL	$128, DI
	MOVL	$SYS_exit_group, AX
	SYSCALL
	INT	$3 // not reached
