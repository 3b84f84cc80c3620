/*
 * A guest of a few hundred instructions that shows whether it really runs, and whether its memory is really its own.
 *
 * It boots by the Xen PVH note (qemu -kernel, cloud-hypervisor --kernel, firecracker kernel_image_path), fills 1 MiB
 * with a pattern, and then, a hundred times a second, counts, checks one page of the pattern and dirties one page.
 *
 *   0x100000   this image                  state page, 0x200000:
 *   0x200000   state page                    +0x00  "HYPEGST1"
 *   16 MiB     pattern, 256 pages:           +0x08  u64 ticks since boot
 *              dword at address a is         +0x10  u64 dwords of the pattern that were found wrong
 *              (a * MULTIPLIER) ^ SALT     serial port, 115200 8N1 at 0x3f8:
 *   32 MiB     256 pages, one dirtied        BOOT, FILLED, then each 8 ticks
 *              per tick                      T=<ticks, 8 hex digits> V=<wrong dwords, 8 hex digits>
 *
 * 64-bit with page tables, since some nested KVM hosts cannot deliver interrupts to a 32-bit guest without paging.
 */
#define STATE           0x200000
#define STATE_TICKS     (STATE + 0x08)
#define STATE_WRONG     (STATE + 0x10)
#define PATTERN         0x1000000
#define PATTERN_BYTES   0x100000
#define DIRTIED         0x2000000
#define MULTIPLIER      0x9e3779b1
#define SALT            0x5a5a1234
#define PAGE            0x1000

#define SERIAL          0x3f8
#define LINE_STATUS     0x3fd
#define TRANSMIT_READY  0x20

#define LAPIC           0xfee00000
#define LAPIC_EOI       (LAPIC + 0x0b0)
#define LAPIC_SPURIOUS  (LAPIC + 0x0f0)
#define LAPIC_TIMER     (LAPIC + 0x320)
#define LAPIC_INITIAL   (LAPIC + 0x380)
#define LAPIC_DIVIDE    (LAPIC + 0x3e0)
#define TICK_NS         10000000        /* the LAPIC timer of a VM counts nanoseconds */
#define TIMER_VECTOR    0x20
#define SPURIOUS_VECTOR 0x2f

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 8, 18                      /* name size, value size, XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad start

    .section .text
    .code32
    .globl start
start:
    cli
    cld
    mov $stack_top, %esp

    /* Identity map: the first GiB, and the 2 MiB with the LAPIC, uncached. Present and writable is 3, 2 MiB is 0x80. */
    movl $(low_pages + 3), first_gib
    movl $(high_pages + 3), fourth_gib
    movl $(all_gib + 3), all_memory
    mov $low_pages, %edi
    mov $0x83, %eax
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    cmp $(low_pages + PAGE), %edi
    jne 1b
    movl $(LAPIC + 0x93), high_pages + ((LAPIC >> 21) & 511) * 8

    mov %cr4, %eax
    or $0x20, %eax                      /* PAE */
    mov %eax, %cr4
    mov $all_memory, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx               /* EFER */
    rdmsr
    or $0x100, %eax                     /* LME */
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax                /* PG, PE */
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $stack_top, %rsp

    mov $boot_line, %esi
    call print

    mov $PATTERN, %edi
1:  call pattern_at
    mov %eax, (%rdi)
    add $4, %edi
    cmp $(PATTERN + PATTERN_BYTES), %edi
    jne 1b

    /* The magic in two halves, so that this code is never mistaken for the state page. */
    movl $0x45505948, STATE
    movl $0x31545347, STATE + 4
    mov $filled_line, %esi
    call print

    mov $TIMER_VECTOR, %edi
    mov $on_tick, %eax
    call set_gate
    mov $SPURIOUS_VECTOR, %edi
    mov $on_spurious, %eax
    call set_gate
    lidt idt_pointer

    mov $0xff, %al                      /* legacy interrupts off */
    out %al, $0x21
    out %al, $0xa1
    mov $LAPIC, %ebx
    movl $(0x100 | SPURIOUS_VECTOR), (LAPIC_SPURIOUS - LAPIC)(%rbx)
    movl $0xb, (LAPIC_DIVIDE - LAPIC)(%rbx)
    movl $(0x20000 | TIMER_VECTOR), (LAPIC_TIMER - LAPIC)(%rbx)
    movl $TICK_NS, (LAPIC_INITIAL - LAPIC)(%rbx)

/* r12: the last tick that was worked on. */
    xor %r12d, %r12d
idle:
    sti
    hlt
    cli
    mov STATE_TICKS, %rax
    cmp %r12, %rax
    je idle
    mov %rax, %r12

    /* Check one page of the pattern, dirty one page: which ones follows from the tick. */
    movzbl %r12b, %ebx
    shl $12, %ebx
    lea PATTERN(%rbx), %edi
    lea PATTERN + PAGE(%rbx), %ecx
1:  call pattern_at
    cmp %eax, (%rdi)
    je 2f
    incq STATE_WRONG
2:  add $4, %edi
    cmp %ecx, %edi
    jne 1b
    mov %r12, DIRTIED(%rbx)

    test $7, %r12b
    jnz idle
    mov $ticks_label, %esi
    call print
    mov %r12d, %ebx
    call print_hex
    mov $wrong_label, %esi
    call print
    mov STATE_WRONG, %rbx
    call print_hex
    mov $end_of_line, %esi
    call print
    jmp idle

on_tick:
    push %rax
    incq STATE_TICKS
    mov $LAPIC_EOI, %eax
    movl $0, (%rax)
    pop %rax
on_spurious:
    iretq

/* eax = what the pattern says for address edi. */
pattern_at:
    imul $MULTIPLIER, %edi, %eax
    xor $SALT, %eax
    ret

/* Points vector edi to the code at eax. */
set_gate:
    shl $4, %edi
    mov %ax, idt(%rdi)
    mov $8, %edx                        /* code segment */
    mov %dx, idt + 2(%rdi)
    movl $0x8e00, %edx                  /* present, 64-bit interrupt gate */
    mov %dx, idt + 4(%rdi)
    shr $16, %eax
    mov %ax, idt + 6(%rdi)
    ret

/* Prints the text at esi, up to its NUL. */
print:
    lodsb
    test %al, %al
    jz 1f
    call print_character
    jmp print
1:  ret

/* Prints ebx as 8 hex digits. */
print_hex:
    mov $8, %edi
1:  rol $4, %ebx
    mov %ebx, %eax
    and $15, %eax
    movb digits(%rax), %al
    call print_character
    dec %edi
    jnz 1b
    ret

/* Prints the character al. */
print_character:
    mov %eax, %ebp
    mov $LINE_STATUS, %edx
1:  in %dx, %al
    test $TRANSMIT_READY, %al
    jz 1b
    mov %ebp, %eax
    mov $SERIAL, %edx
    out %al, %dx
    ret

    .section .rodata
boot_line:   .asciz "BOOT\n"
filled_line: .asciz "FILLED\n"
ticks_label: .asciz "T="
wrong_label: .asciz " V="
end_of_line: .asciz "\n"
digits:      .ascii "0123456789abcdef"
    .align 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff            /* 8: 64-bit code */
    .quad 0x00cf92000000ffff            /* 16: data */
gdt_pointer:
    .word . - gdt - 1
    .long gdt
idt_pointer:
    .word (SPURIOUS_VECTOR + 1) * 16 - 1
    .quad idt

    .section .bss
    .align PAGE
all_memory: .skip PAGE
all_gib:
first_gib:  .skip 24
fourth_gib: .skip PAGE - 24
low_pages:  .skip PAGE
high_pages: .skip PAGE
idt:        .skip (SPURIOUS_VECTOR + 1) * 16
    .align 16
    .skip PAGE
stack_top:
    .section .note.GNU-stack, "", @progbits
