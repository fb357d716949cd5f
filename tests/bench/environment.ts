// What proxies of ours are given by the bench's own surroundings.

/** Both proxies of a chain may use all descriptors that the operator may: `task proxy` does the same. */
export function descriptorsHardLimit(): string {
  const line = /^Max open files\s+\S+\s+(\S+)/m.exec(Deno.readTextFileSync("/proc/self/limits"));
  return line?.[1] ?? "1024";
}

/** The native network, with the libraries of our own `OPENSSL_LIB_DIR` unless the system's are wanted. */
export function nativeEnvironment(
  options: { readonly systemOpenSsl: boolean },
): Record<string, string> {
  const folder = Deno.env.get("OPENSSL_LIB_DIR");
  return {
    IO_PROVIDER: "native",
    ...(folder === undefined || options.systemOpenSsl ? {} : { OPENSSL_LIB_DIR: folder }),
  };
}
