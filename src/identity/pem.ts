// Blocks of PEM text (RFC 7468), out of what a CA says and into what TLS libraries read.
import { encodeBase64 } from "@std/encoding";

/** The text is not PEM. Internal to identity/: whoever reads a peer's text turns it into an IdentityError. */
export class PemError extends Error {
  override readonly name = "PemError";
}

export interface PemBlock {
  /** What stands between `BEGIN` and the dashes. */
  readonly label: string;
  readonly der: Uint8Array<ArrayBuffer>;
}

const BEGIN = "-----BEGIN ";
const DASHES = "-----";
/** Characters of a label; `CERTIFICATE REQUEST` has 19. */
export const PEM_LABEL_MAX = 64;

/**
 * The blocks in order, each read when it is asked for; text around them is skipped. One pass, however hostile the text.
 * @throws {PemError} at a block without its end, or whose contents are no base64.
 */
export function* pemBlocks(text: string): Generator<PemBlock> {
  let at = 0;
  for (;;) {
    const begin = text.indexOf(BEGIN, at);
    if (begin < 0) return;
    const labelStart = begin + BEGIN.length;
    const labelEnd = text.indexOf(DASHES, labelStart);
    if (labelEnd < 0 || labelEnd - labelStart > PEM_LABEL_MAX) {
      throw new PemError("a block's first line has no end");
    }
    const label = text.slice(labelStart, labelEnd);
    const bodyStart = labelEnd + DASHES.length;
    const ending = `-----END ${label}-----`;
    const bodyEnd = text.indexOf(DASHES, bodyStart);
    if (bodyEnd < 0 || !text.startsWith(ending, bodyEnd)) {
      throw new PemError("a block has no end");
    }
    yield { label, der: decode(text.slice(bodyStart, bodyEnd)) };
    at = bodyEnd + ending.length;
  }
}

/** One block, ending with a newline. */
export function pemText(label: string, der: Uint8Array): string {
  const body = encodeBase64(der).replace(/.{64}(?!$)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${body}\n-----END ${label}-----\n`;
}

function decode(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.fromBase64(base64, { lastChunkHandling: "strict" });
  } catch (error) {
    throw new PemError("a block is no base64", { cause: error });
  }
}
