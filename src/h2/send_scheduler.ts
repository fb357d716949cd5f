// Whose turn it is to send: a queue of streams that have bytes and a window.

/** Something that stands in the queue at most once. */
export interface Scheduled {
  scheduled: boolean;
}

/** First in, first out; whoever is not finished goes to the end again, which makes it a round robin. */
export class SendScheduler<Item extends Scheduled> {
  #items: Item[] = [];
  #head = 0;

  get isEmpty(): boolean {
    return this.#head === this.#items.length;
  }

  /** Puts `item` at the end unless it waits already. */
  add(item: Item): void {
    if (item.scheduled) return;
    item.scheduled = true;
    this.#items.push(item);
  }

  shift(): Item | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    item.scheduled = false;
    if (++this.#head === this.#items.length) {
      this.#items.length = 0;
      this.#head = 0;
    } else if (this.#head >= 64 && this.#head * 2 >= this.#items.length) {
      this.#items.splice(0, this.#head);
      this.#head = 0;
    }
    return item;
  }

  /** Takes `item` out, wherever it stands. */
  remove(item: Item): void {
    if (!item.scheduled) return;
    item.scheduled = false;
    this.#items.splice(this.#items.indexOf(item, this.#head), 1);
    if (this.isEmpty) {
      this.#items.length = 0;
      this.#head = 0;
    }
  }
}
