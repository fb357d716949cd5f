// Which OpenSSL a running process has mapped: what it uses, whatever it was told to use.

/** `libcrypto` as it stands in /proc/PID/maps; null when none is mapped. */
export function mappedLibcrypto(maps: string): string | null {
  return /\s(\/\S*libcrypto[^\s/]*\.so\S*)$/m.exec(maps)?.[1] ?? null;
}

/** `3.5.4` out of the text every libcrypto holds: `OpenSSL 3.5.4 30 Sep 2025`. */
export function openSslVersion(library: Uint8Array): string | null {
  const text = new TextDecoder("latin1").decode(library);
  return /OpenSSL (\d+\.\d+\.\d+\S*) \d{1,2} \w{3} \d{4}/.exec(text)?.[1] ?? null;
}

/** Version of the OpenSSL that `pid` has mapped; null when it has none. */
export function mappedOpenSslVersion(pid: number): string | null {
  const path = mappedLibcrypto(Deno.readTextFileSync(`/proc/${pid}/maps`));
  return path === null ? null : openSslVersion(Deno.readFileSync(`/proc/${pid}/root${path}`));
}

/** Whether `version` is `atLeast` or newer: dotted numbers, compared field by field. */
export function isAtLeast(version: string, atLeast: string): boolean {
  const [own, wanted] = [version, atLeast].map((text) => text.split(".").map(parseFloat));
  for (const [index, field] of wanted!.entries()) {
    const difference = (own![index] ?? 0) - field;
    if (difference !== 0) return difference > 0;
  }
  return true;
}
