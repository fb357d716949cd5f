// What we use of libc, as fast calls: buffers, pointers and 32-bit integers only (spec/deno-runtime §11 row 22).

/**
 * size_t and socklen_t parameters are declared u32 and ssize_t results i32: a `usize` costs 50 ns more per call, and
 * nothing here is as large as 2^31. The one 64-bit result is an address, asked for at start.
 */
export const LIBC_SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  accept4: { parameters: ["i32", "buffer", "buffer", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  writev: { parameters: ["i32", "buffer", "i32"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  dup: { parameters: ["i32"], result: "i32" },
  open: { parameters: ["buffer", "i32", "i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "usize"], result: "usize" },
  errnoLocation: { name: "__errno_location", parameters: [], result: "pointer" },
  copyFrom: { name: "memcpy", parameters: ["buffer", "pointer", "u32"], result: "void" },
  copyTo: { name: "memcpy", parameters: ["pointer", "buffer", "u32"], result: "void" },
  addressOf: { name: "memcpy", parameters: ["buffer", "buffer", "u32"], result: "u64" },
  mallocTrim: { name: "malloc_trim", parameters: ["u32"], result: "i32", optional: true },
} as const satisfies Deno.ForeignLibraryInterface;

export type LibcLibrary = Deno.DynamicLibrary<typeof LIBC_SYMBOLS>;
export type LibcSymbols = LibcLibrary["symbols"];

/** Where glibc lies on the systems the runtime itself supports (spec/deno-runtime §2.1), in order of trial. */
export const LIBC_PATHS: readonly string[] = [
  "/lib/x86_64-linux-gnu/libc.so.6",
  "/lib/aarch64-linux-gnu/libc.so.6",
  "/lib64/libc.so.6",
  "/usr/lib/libc.so.6",
];

/** Found by the loader's own search; a grant limited to paths does not cover it. */
export const LIBC_NAME = "libc.so.6";
