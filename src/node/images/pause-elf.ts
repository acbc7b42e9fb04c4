/**
 * The program of the sandbox ('pause') container, assembled here so that no compiler and no download is needed. It holds a pod's
 * namespaces and does three things, as upstream's pause does:
 *   - it ignores SIGCHLD, so that the kernel reaps orphans when the pod shares its process namespace;
 *   - it ends with code 0 on SIGTERM and SIGINT (as process 1 it would otherwise be deaf to both);
 *   - it sleeps for ever.
 * The file is a static ELF of one segment: header, one program header, code, and two kernel `struct sigaction`s. Memory is mapped
 * read and execute only.
 */
import { assert } from '#stdx/assert.ts';

type ElfArchitecture = 'amd64' | 'arm64';

const LOAD_ADDRESS = 0x400000n;
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const CODE_OFFSET = HEADER_BYTES + PROGRAM_HEADER_BYTES;
const MACHINES: Readonly<Record<ElfArchitecture, number>> = { amd64: 62, arm64: 183 };

const SIGINT = 2;
const SIGTERM = 15;
const SIGCHLD = 17;
const SIG_IGN = 1n;
const SA_RESTORER = 0x04000000n;
/** sizeof(sigset_t) in the kernel, which rt_sigaction asks for. */
const SIGSET_BYTES = 8;

type Label = 'pause' | 'exit' | 'ignore' | 'leave';
/** Bytes, or a function of its address and the labels; `length` bytes long. */
interface Instruction {
  readonly length: number;
  encode(at: number, labels: ReadonlyMap<Label, number>): Buffer;
}
type Line = Instruction | Label;

export function pauseElf(architecture: ElfArchitecture): Buffer {
  const program = assemble([...(architecture === 'amd64' ? amd64() : arm64()), ...data()]);
  const file = Buffer.alloc(CODE_OFFSET + program.length);
  writeHeader(file, architecture);
  writeProgramHeader(file);
  program.copy(file, CODE_OFFSET);
  return file;
}

// ---- amd64: arguments in rdi rsi rdx r10, number in rax; a call keeps all registers but rax, rcx, r11 -------------------------------

const AMD64_RT_SIGACTION = 13;
const AMD64_PAUSE = 34;
const AMD64_EXIT_GROUP = 231;

function amd64(): Line[] {
  const syscall = bytes(0x0f, 0x05);
  const setEax = (value: number): Instruction => bytes(0xb8, ...le32(value)); //        mov eax, value
  const setEdi = (value: number): Instruction => bytes(0xbf, ...le32(value)); //        mov edi, value
  const setRsi = (label: Label): Instruction =>
    relative({ length: 7, label, encode: (distance) => [0x48, 0x8d, 0x35, ...le32(distance)] }); // lea rsi, [rip + label]
  return [
    bytes(0x31, 0xd2), //                               xor edx, edx            old action: not wanted
    bytes(0x41, 0xba, ...le32(SIGSET_BYTES)), //        mov r10d, 8
    setEdi(SIGCHLD),
    setRsi('ignore'),
    setEax(AMD64_RT_SIGACTION),
    syscall,
    setEdi(SIGTERM),
    setRsi('leave'),
    setEax(AMD64_RT_SIGACTION),
    syscall,
    setEdi(SIGINT),
    setEax(AMD64_RT_SIGACTION),
    syscall,
    'pause',
    setEax(AMD64_PAUSE),
    syscall,
    relative({ length: 2, label: 'pause', encode: (distance) => [0xeb, distance & 0xff] }), // jmp pause
    'exit',
    bytes(0x31, 0xff), //                               xor edi, edi            code 0
    setEax(AMD64_EXIT_GROUP),
    syscall,
  ];
}

/** An operand that counts from the end of its instruction. */
function relative(of: {
  readonly length: number;
  readonly label: Label;
  encode(distance: number): number[];
}): Instruction {
  return {
    length: of.length,
    encode: (at, labels) => Buffer.from(of.encode(target(labels, of.label) - at - of.length)),
  };
}

// ---- arm64: arguments in x0…x4, number in x8; a call keeps all registers but x0; no pause(), so ppoll on nothing without end ---------

const ARM64_RT_SIGACTION = 134;
const ARM64_PPOLL = 73;
const ARM64_EXIT_GROUP = 94;

function arm64(): Line[] {
  const svc = word(0xd4000001); //                                                        svc #0
  const set = (register: number, value: number): Instruction =>
    word((0xd2800000 | (value << 5) | register) >>> 0); // mov xN, #value
  const address = (register: number, label: Label): Instruction => ({
    //                  adr xN, label
    length: 4,
    encode(at, labels) {
      const distance = target(labels, label) - at;
      return le32Buffer(
        (0x10000000 | ((distance & 3) << 29) | (((distance >> 2) & 0x7ffff) << 5) | register) >>> 0,
      );
    },
  });
  const jump = (label: Label): Instruction => ({
    //                                       b label
    length: 4,
    encode: (at, labels) =>
      le32Buffer((0x14000000 | (((target(labels, label) - at) >> 2) & 0x3ffffff)) >>> 0),
  });
  return [
    set(2, 0),
    set(3, SIGSET_BYTES),
    set(8, ARM64_RT_SIGACTION),
    set(0, SIGCHLD),
    address(1, 'ignore'),
    svc,
    set(0, SIGTERM),
    address(1, 'leave'),
    svc,
    set(0, SIGINT),
    svc,
    'pause',
    set(0, 0),
    set(1, 0),
    set(2, 0),
    set(3, 0),
    set(4, 0),
    set(8, ARM64_PPOLL),
    svc,
    jump('pause'),
    'exit',
    set(0, 0),
    set(8, ARM64_EXIT_GROUP),
    svc,
  ];
}

// ---- data: struct sigaction { handler, flags, restorer, mask } of 8 bytes each, the same on both machines -----------------------------

function data(): Line[] {
  const exitAddress: Instruction = {
    length: 8,
    encode: (_at, labels) => le64Buffer(LOAD_ADDRESS + BigInt(CODE_OFFSET + target(labels, 'exit'))),
  };
  const number = (value: bigint): Instruction => ({ length: 8, encode: () => le64Buffer(value) });
  return [
    'ignore',
    number(SIG_IGN),
    number(0n),
    number(0n),
    number(0n),
    // amd64 delivers no signal without a restorer; this handler never returns, so any address does.
    'leave',
    exitAddress,
    number(SA_RESTORER),
    exitAddress,
    number(0n),
  ];
}

// ---- the assembler ------------------------------------------------------------------------------------------------------------------

function assemble(lines: readonly Line[]): Buffer {
  const labels = new Map<Label, number>();
  let offset = 0;
  for (const line of lines) {
    if (typeof line === 'string') labels.set(line, offset);
    else offset += line.length;
  }
  const parts: Buffer[] = [];
  let at = 0;
  for (const line of lines) {
    if (typeof line === 'string') continue;
    const part = line.encode(at, labels);
    assert(part.length === line.length, 'an instruction has the length it says');
    parts.push(part);
    at += part.length;
  }
  return Buffer.concat(parts);
}

function target(labels: ReadonlyMap<Label, number>, label: Label): number {
  const offset = labels.get(label);
  assert(offset !== undefined, `label ${label} is defined`);
  return offset;
}

function bytes(...values: number[]): Instruction {
  return { length: values.length, encode: () => Buffer.from(values) };
}

function word(value: number): Instruction {
  return { length: 4, encode: () => le32Buffer(value) };
}

function le32(value: number): number[] {
  return [...le32Buffer(value >>> 0)];
}

function le32Buffer(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function le64Buffer(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(value);
  return buffer;
}

/** Elf64_Ehdr. */
function writeHeader(file: Buffer, architecture: ElfArchitecture): void {
  file.write('\x7fELF', 0, 'latin1');
  file.set([2, 1, 1, 0], 4); //                                        64 bit, little-endian, ELF version 1, System V
  file.writeUInt16LE(2, 16); //                                        e_type: executable at a fixed address
  file.writeUInt16LE(MACHINES[architecture], 18); //                   e_machine
  file.writeUInt32LE(1, 20); //                                        e_version
  file.writeBigUInt64LE(LOAD_ADDRESS + BigInt(CODE_OFFSET), 24); //    e_entry
  file.writeBigUInt64LE(BigInt(HEADER_BYTES), 32); //                  e_phoff
  file.writeUInt16LE(HEADER_BYTES, 52); //                             e_ehsize
  file.writeUInt16LE(PROGRAM_HEADER_BYTES, 54); //                     e_phentsize
  file.writeUInt16LE(1, 56); //                                        e_phnum
  file.writeUInt16LE(64, 58); //                                       e_shentsize; there are no sections
}

/** Elf64_Phdr: the whole file, once. */
function writeProgramHeader(file: Buffer): void {
  file.writeUInt32LE(1, HEADER_BYTES); //                              p_type: PT_LOAD
  file.writeUInt32LE(5, HEADER_BYTES + 4); //                          p_flags: read, execute
  file.writeBigUInt64LE(0n, HEADER_BYTES + 8); //                      p_offset
  file.writeBigUInt64LE(LOAD_ADDRESS, HEADER_BYTES + 16); //           p_vaddr
  file.writeBigUInt64LE(LOAD_ADDRESS, HEADER_BYTES + 24); //           p_paddr
  file.writeBigUInt64LE(BigInt(file.length), HEADER_BYTES + 32); //    p_filesz
  file.writeBigUInt64LE(BigInt(file.length), HEADER_BYTES + 40); //    p_memsz
  file.writeBigUInt64LE(0x10000n, HEADER_BYTES + 48); //               p_align: 64 kB, the largest page of arm64
}
