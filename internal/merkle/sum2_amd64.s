//go:build !purego

#include "textflag.h"

// SHA-256 of two messages at once, with the SHA extensions (Intel SDM, volume 2, SHA256RNDS2). One message leaves the
// unit idle half of the time, since every SHA256RNDS2 waits for the one before it. Two fill it.
//
// X1 and X2 are the state of the first message, as {A,B,E,F} and {C,D,G,H}; X3 to X6 its schedule. X7, X8 and X9 to
// X12 are those of the second. X0 goes into SHA256RNDS2, X13 is scratch, X14 turns bytes around.

// LOAD loads four words of a message.
#define LOAD(p, m) \
	MOVOU  p, m; \
	PSHUFB X14, m

// ROUNDS does four rounds with the words in m; k is the offset of their constants.
#define ROUNDS(k, m, abef, cdgh) \
	MOVOU       k(AX), X0; \
	PADDD       m, X0; \
	SHA256RNDS2 X0, abef, cdgh; \
	PSHUFD      $0x0e, X0, X0; \
	SHA256RNDS2 X0, cdgh, abef

// SCHEDULE makes the four words behind m, in next, which SHA256MSG1 has prepared.
#define SCHEDULE(prev, m, next) \
	MOVO       m, X13; \
	PALIGNR    $4, prev, X13; \
	PADDD      X13, next; \
	SHA256MSG2 m, next

// STEP does four rounds of both messages and makes the words that are used four steps later.
#define STEP(k, prevA, mA, nextA, prevB, mB, nextB) \
	ROUNDS(k, mA, X1, X2); \
	ROUNDS(k, mB, X7, X8); \
	SCHEDULE(prevA, mA, nextA); \
	SCHEDULE(prevB, mB, nextB)

// STEPS does it four times and prepares the words after those.
#define STEPS(k) \
	STEP(k, X6, X3, X4, X12, X9, X10); \
	SHA256MSG1 X3, X6; \
	SHA256MSG1 X9, X12; \
	STEP(k+16, X3, X4, X5, X9, X10, X11); \
	SHA256MSG1 X4, X3; \
	SHA256MSG1 X10, X9; \
	STEP(k+32, X4, X5, X6, X10, X11, X12); \
	SHA256MSG1 X5, X4; \
	SHA256MSG1 X11, X10; \
	STEP(k+48, X5, X6, X3, X11, X12, X9); \
	SHA256MSG1 X6, X5; \
	SHA256MSG1 X12, X11

// STORE writes a state as a digest.
#define STORE(abef, cdgh, p, q) \
	PSHUFD  $0x1b, abef, abef; \
	PSHUFD  $0xb1, cdgh, cdgh; \
	MOVO    abef, X13; \
	PBLENDW $0xf0, cdgh, abef; \
	PALIGNR $8, X13, cdgh; \
	PSHUFB  X14, abef; \
	PSHUFB  X14, cdgh; \
	MOVOU   abef, p; \
	MOVOU   cdgh, q

// func sum2(out *[2]event.Hash, a, b *byte, blocks int)
TEXT ·sum2(SB), NOSPLIT, $64-32
	MOVQ  out+0(FP), DI
	MOVQ  a+8(FP), SI
	MOVQ  b+16(FP), BX
	MOVQ  blocks+24(FP), CX
	LEAQ  constants<>(SB), AX
	MOVOU 256(AX), X14
	MOVOU 272(AX), X1
	MOVOU 288(AX), X2
	MOVO  X1, X7
	MOVO  X2, X8

block:
	MOVOU X1, 0(SP)
	MOVOU X2, 16(SP)
	MOVOU X7, 32(SP)
	MOVOU X8, 48(SP)

	LOAD(0(SI), X3)
	LOAD(0(BX), X9)
	ROUNDS(0, X3, X1, X2)
	ROUNDS(0, X9, X7, X8)
	LOAD(16(SI), X4)
	LOAD(16(BX), X10)
	ROUNDS(16, X4, X1, X2)
	ROUNDS(16, X10, X7, X8)
	SHA256MSG1 X4, X3
	SHA256MSG1 X10, X9
	LOAD(32(SI), X5)
	LOAD(32(BX), X11)
	ROUNDS(32, X5, X1, X2)
	ROUNDS(32, X11, X7, X8)
	SHA256MSG1 X5, X4
	SHA256MSG1 X11, X10
	LOAD(48(SI), X6)
	LOAD(48(BX), X12)
	STEP(48, X5, X6, X3, X11, X12, X9)
	SHA256MSG1 X6, X5
	SHA256MSG1 X12, X11
	STEPS(64)
	STEPS(128)
	STEP(192, X6, X3, X4, X12, X9, X10)
	SHA256MSG1 X3, X6
	SHA256MSG1 X9, X12
	STEP(208, X3, X4, X5, X9, X10, X11)
	STEP(224, X4, X5, X6, X10, X11, X12)
	ROUNDS(240, X6, X1, X2)
	ROUNDS(240, X12, X7, X8)

	MOVOU 0(SP), X13
	PADDD X13, X1
	MOVOU 16(SP), X13
	PADDD X13, X2
	MOVOU 32(SP), X13
	PADDD X13, X7
	MOVOU 48(SP), X13
	PADDD X13, X8
	ADDQ  $64, SI
	ADDQ  $64, BX
	DECQ  CX
	JNZ   block

	STORE(X1, X2, 0(DI), 16(DI))
	STORE(X7, X8, 32(DI), 48(DI))
	RET

// func hasSHA() bool
TEXT ·hasSHA(SB), NOSPLIT, $0-1
	MOVB  $0, ret+0(FP)
	XORL  AX, AX
	CPUID
	CMPL  AX, $7
	JLT   no
	MOVL  $1, AX
	XORL  CX, CX
	CPUID
	ANDL  $0x80200, CX // SSE4.1, SSSE3
	CMPL  CX, $0x80200
	JNE   no
	MOVL  $7, AX
	XORL  CX, CX
	CPUID
	SHRL  $29, BX
	ANDL  $1, BX
	MOVB  BX, ret+0(FP)

no:
	RET

// The constants of the rounds, the mask that turns bytes around, and the first state (FIPS 180-4, 4.2.2 and 5.3.3).
DATA constants<>+0(SB)/4, $0x428a2f98
DATA constants<>+4(SB)/4, $0x71374491
DATA constants<>+8(SB)/4, $0xb5c0fbcf
DATA constants<>+12(SB)/4, $0xe9b5dba5
DATA constants<>+16(SB)/4, $0x3956c25b
DATA constants<>+20(SB)/4, $0x59f111f1
DATA constants<>+24(SB)/4, $0x923f82a4
DATA constants<>+28(SB)/4, $0xab1c5ed5
DATA constants<>+32(SB)/4, $0xd807aa98
DATA constants<>+36(SB)/4, $0x12835b01
DATA constants<>+40(SB)/4, $0x243185be
DATA constants<>+44(SB)/4, $0x550c7dc3
DATA constants<>+48(SB)/4, $0x72be5d74
DATA constants<>+52(SB)/4, $0x80deb1fe
DATA constants<>+56(SB)/4, $0x9bdc06a7
DATA constants<>+60(SB)/4, $0xc19bf174
DATA constants<>+64(SB)/4, $0xe49b69c1
DATA constants<>+68(SB)/4, $0xefbe4786
DATA constants<>+72(SB)/4, $0x0fc19dc6
DATA constants<>+76(SB)/4, $0x240ca1cc
DATA constants<>+80(SB)/4, $0x2de92c6f
DATA constants<>+84(SB)/4, $0x4a7484aa
DATA constants<>+88(SB)/4, $0x5cb0a9dc
DATA constants<>+92(SB)/4, $0x76f988da
DATA constants<>+96(SB)/4, $0x983e5152
DATA constants<>+100(SB)/4, $0xa831c66d
DATA constants<>+104(SB)/4, $0xb00327c8
DATA constants<>+108(SB)/4, $0xbf597fc7
DATA constants<>+112(SB)/4, $0xc6e00bf3
DATA constants<>+116(SB)/4, $0xd5a79147
DATA constants<>+120(SB)/4, $0x06ca6351
DATA constants<>+124(SB)/4, $0x14292967
DATA constants<>+128(SB)/4, $0x27b70a85
DATA constants<>+132(SB)/4, $0x2e1b2138
DATA constants<>+136(SB)/4, $0x4d2c6dfc
DATA constants<>+140(SB)/4, $0x53380d13
DATA constants<>+144(SB)/4, $0x650a7354
DATA constants<>+148(SB)/4, $0x766a0abb
DATA constants<>+152(SB)/4, $0x81c2c92e
DATA constants<>+156(SB)/4, $0x92722c85
DATA constants<>+160(SB)/4, $0xa2bfe8a1
DATA constants<>+164(SB)/4, $0xa81a664b
DATA constants<>+168(SB)/4, $0xc24b8b70
DATA constants<>+172(SB)/4, $0xc76c51a3
DATA constants<>+176(SB)/4, $0xd192e819
DATA constants<>+180(SB)/4, $0xd6990624
DATA constants<>+184(SB)/4, $0xf40e3585
DATA constants<>+188(SB)/4, $0x106aa070
DATA constants<>+192(SB)/4, $0x19a4c116
DATA constants<>+196(SB)/4, $0x1e376c08
DATA constants<>+200(SB)/4, $0x2748774c
DATA constants<>+204(SB)/4, $0x34b0bcb5
DATA constants<>+208(SB)/4, $0x391c0cb3
DATA constants<>+212(SB)/4, $0x4ed8aa4a
DATA constants<>+216(SB)/4, $0x5b9cca4f
DATA constants<>+220(SB)/4, $0x682e6ff3
DATA constants<>+224(SB)/4, $0x748f82ee
DATA constants<>+228(SB)/4, $0x78a5636f
DATA constants<>+232(SB)/4, $0x84c87814
DATA constants<>+236(SB)/4, $0x8cc70208
DATA constants<>+240(SB)/4, $0x90befffa
DATA constants<>+244(SB)/4, $0xa4506ceb
DATA constants<>+248(SB)/4, $0xbef9a3f7
DATA constants<>+252(SB)/4, $0xc67178f2
DATA constants<>+256(SB)/8, $0x0405060700010203
DATA constants<>+264(SB)/8, $0x0c0d0e0f08090a0b
DATA constants<>+272(SB)/4, $0x9b05688c
DATA constants<>+276(SB)/4, $0x510e527f
DATA constants<>+280(SB)/4, $0xbb67ae85
DATA constants<>+284(SB)/4, $0x6a09e667
DATA constants<>+288(SB)/4, $0x5be0cd19
DATA constants<>+292(SB)/4, $0x1f83d9ab
DATA constants<>+296(SB)/4, $0xa54ff53a
DATA constants<>+300(SB)/4, $0x3c6ef372
GLOBL constants<>(SB), RODATA|NOPTR, $304
