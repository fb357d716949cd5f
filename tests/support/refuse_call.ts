// Runs a program under a seccomp filter that refuses one system call, as a container's profile may.
//
// deno run -A refuse_call.ts CALL ERRNO PROGRAM ARGS…

/** Numbers of the calls that tests refuse, by architecture (asm/unistd.h). */
const CALLS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  x86_64: { accept4: 288, setsockopt: 54 },
  aarch64: { accept4: 242, setsockopt: 208 },
};

const PR_SET_SECCOMP = 22;
const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_MODE_FILTER = 2;
const SECCOMP_RET_ALLOW = 0x7fff_0000;
const SECCOMP_RET_ERRNO = 0x0005_0000;

/** A classic BPF program of four instructions: load the call's number, compare, refuse, allow. */
function filterFor(call: number, errno: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  const instruction = (index: number, code: number, jumpFalse: number, value: number) => {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 3, jumpFalse);
    view.setUint32(index * 8 + 4, value, true);
  };
  instruction(0, 0x20, 0, 0); // BPF_LD | BPF_W | BPF_ABS, offset of seccomp_data.nr
  instruction(1, 0x15, 1, call); // BPF_JMP | BPF_JEQ | BPF_K
  instruction(2, 0x06, 0, SECCOMP_RET_ERRNO | errno); // BPF_RET
  instruction(3, 0x06, 0, SECCOMP_RET_ALLOW);
  return bytes;
}

function terminated(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

if (import.meta.main) {
  const [name, errno, program, ...args] = Deno.args;
  const call = CALLS[Deno.build.arch]?.[name ?? ""];
  if (call === undefined || program === undefined) throw new Error(`Cannot refuse ${name}`);
  const libc = Deno.dlopen("libc.so.6", {
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
    execvp: { parameters: ["buffer", "buffer"], result: "i32" },
  }).symbols;
  const addressOf = (bytes: Uint8Array<ArrayBuffer>) =>
    Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));

  const filter = filterFor(call, Number(errno));
  const header = new BigUint64Array([4n, addressOf(filter)]); // struct sock_fprog
  const headerBytes = new Uint8Array(header.buffer);
  const refused = libc.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) +
    libc.prctl(PR_SET_SECCOMP, BigInt(SECCOMP_MODE_FILTER), addressOf(headerBytes), 0n, 0n);
  if (refused !== 0) throw new Error("The kernel takes no seccomp filter");

  const texts = [program, ...args].map(terminated);
  const pointers = new BigUint64Array([...texts.map(addressOf), 0n]);
  libc.execvp(texts[0]!, new Uint8Array(pointers.buffer));
  throw new Error(`Cannot execute ${program}`);
}
