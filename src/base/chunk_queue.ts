// Bytes that must wait: kept by reference where that is cheap, copied together where it is not.
import { assert } from "./assert.ts";
import { adoptBlock, type Block, type BlockPool } from "./block.ts";
import { copyBytes } from "./copy_bytes.ts";

/** A piece shorter than this is always copied, so the number of pieces is bounded by the bytes. */
export const KEPT_PIECE_BYTES_MIN = 4096;

/** The first block for copied pieces; later ones grow with what waits, up to the pool's size. */
const FIRST_COPY_BYTES = 1024;

const FIRST_SLOTS = 4;
/** A drained queue gives a longer ring back. */
const IDLE_SLOTS_MAX = 64;

/**
 * A first-in-first-out queue of bytes. Memory held is at most about twice {@link bytes} plus 2 KiB,
 * however the bytes were cut: a piece is kept by reference only when it is at least half of its block.
 */
export class ChunkQueue {
  readonly #pool: BlockPool;
  /** A ring of pieces; the number of slots is a power of two. */
  #blocks: (Block | null)[] = [];
  #starts: number[] = [];
  #ends: number[] = [];
  #head = 0;
  #pieces = 0;
  #bytes = 0;
  /** The last piece's block when we made it ourselves, so that more can be copied behind its end. */
  #open: Block | null = null;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  /** Octets waiting. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#bytes === 0;
  }

  /** Contiguous pieces waiting. */
  get pieces(): number {
    return this.#pieces;
  }

  /** The block of the first piece; the queue's reference, valid until the piece is consumed. */
  get headBlock(): Block {
    assert(this.#pieces > 0, "The queue is empty");
    return this.#blocks[this.#head]!;
  }

  get headStart(): number {
    assert(this.#pieces > 0, "The queue is empty");
    return this.#starts[this.#head]!;
  }

  get headEnd(): number {
    assert(this.#pieces > 0, "The queue is empty");
    return this.#ends[this.#head]!;
  }

  /** Takes `[start, end)` of `block`, keeping or copying it. */
  append(block: Block, start: number, end: number): void {
    assert(start <= end && end <= block.bytes.length, "Not a range of the block");
    const bytes = end - start;
    if (bytes === 0) return;
    if (this.#pieces > 0 && this.#open === null) {
      const tail = this.#slot(this.#pieces - 1);
      if (this.#blocks[tail] === block && this.#ends[tail] === start) {
        this.#ends[tail] = end;
        this.#bytes += bytes;
        return;
      }
    }
    if (bytes >= KEPT_PIECE_BYTES_MIN && bytes * 2 >= block.bytes.buffer.byteLength) {
      block.retain();
      this.#push(block, start, end);
      this.#open = null;
      this.#bytes += bytes;
    } else {
      this.#copy(block.bytes, start, end);
    }
  }

  /** Removes the first piece; the caller has its reference now and must release it. */
  shift(): Block {
    const block = this.headBlock;
    const head = this.#head;
    this.#bytes -= this.#ends[head]! - this.#starts[head]!;
    this.#blocks[head] = null;
    this.#head = (head + 1) & (this.#blocks.length - 1);
    if (--this.#pieces === 0) this.#drained();
    return block;
  }

  /** Removes `bytes` octets (at least 1) of the first piece. */
  consume(bytes: number): void {
    const left = this.headEnd - this.headStart;
    assert(bytes > 0 && bytes <= left, "Consumed more than the first piece");
    if (bytes === left) {
      this.shift().release();
    } else {
      this.#starts[this.#head] = this.#starts[this.#head]! + bytes;
      this.#bytes -= bytes;
    }
  }

  /** Drops everything. */
  clear(): void {
    while (this.#pieces > 0) this.shift().release();
  }

  #copy(source: Uint8Array, start: number, end: number): void {
    while (start < end) {
      let block = this.#open;
      let tail = this.#pieces === 0 ? 0 : this.#slot(this.#pieces - 1);
      if (block === null || this.#ends[tail] === block.bytes.length) {
        block = this.#newBlock(end - start);
        this.#push(block, 0, 0);
        this.#open = block;
        tail = this.#slot(this.#pieces - 1);
      }
      const offset = this.#ends[tail]!;
      const bytes = Math.min(end - start, block.bytes.length - offset);
      copyBytes(source, start, start + bytes, block.bytes, offset);
      this.#ends[tail] = offset + bytes;
      this.#bytes += bytes;
      start += bytes;
    }
  }

  #newBlock(bytesWanted: number): Block {
    const fit = Math.max(bytesWanted, this.#bytes, FIRST_COPY_BYTES);
    return fit * 2 > this.#pool.blockBytes ? this.#pool.take() : adoptBlock(new Uint8Array(fit));
  }

  #slot(piece: number): number {
    return (this.#head + piece) & (this.#blocks.length - 1);
  }

  #push(block: Block, start: number, end: number): void {
    if (this.#pieces === this.#blocks.length) this.#grow();
    const slot = this.#slot(this.#pieces++);
    this.#blocks[slot] = block;
    this.#starts[slot] = start;
    this.#ends[slot] = end;
  }

  #grow(): void {
    const slots = Math.max(FIRST_SLOTS, this.#blocks.length * 2);
    const blocks: (Block | null)[] = new Array(slots).fill(null);
    const starts: number[] = new Array(slots).fill(0);
    const ends: number[] = new Array(slots).fill(0);
    for (let piece = 0; piece < this.#pieces; piece++) {
      const slot = this.#slot(piece);
      blocks[piece] = this.#blocks[slot]!;
      starts[piece] = this.#starts[slot]!;
      ends[piece] = this.#ends[slot]!;
    }
    this.#blocks = blocks;
    this.#starts = starts;
    this.#ends = ends;
    this.#head = 0;
  }

  #drained(): void {
    this.#open = null;
    if (this.#blocks.length > IDLE_SLOTS_MAX) {
      this.#blocks = [];
      this.#starts = [];
      this.#ends = [];
      this.#head = 0;
    }
  }
}
