// Finding and judging header values, the same way for every header we read. Pure.
import type { HeaderList } from "../h2/types.ts";

/** True when every character may stand in a header value we read: space to tilde, and tab. */
export function isVisibleAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if ((code < 0x20 && code !== 0x09) || code > 0x7e) return false;
  }
  return true;
}

/** The first header of that name; null where none. */
export function headerValue(headers: HeaderList, name: string): string | null {
  for (const header of headers) if (header.name === name) return header.value;
  return null;
}
