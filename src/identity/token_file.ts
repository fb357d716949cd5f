// The file with the token that proves to the CA who we are.
import type { ReadFile } from "./root_file.ts";

const LF = 10;
const CR = 13;

/**
 * A reader that leaves out line ends at the end of what it reads: no header may have them, and whoever writes a token by hand
 * leaves one (spec/identity-and-inpod §2.2). Nothing is kept from one read to the next.
 */
export function tokenFileReader(readFile: ReadFile): ReadFile {
  return async (path) => {
    const bytes = await readFile(path);
    let length = bytes.length;
    while (length > 0 && (bytes[length - 1] === LF || bytes[length - 1] === CR)) length--;
    return bytes.subarray(0, length);
  };
}
