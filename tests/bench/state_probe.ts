// Loaded into a proxy before its own code (`--preload`): watches its loop. Each SIGUSR2 says what there was since the
// one before, as a line of JSON on stderr.
import { PauseWatch } from "./pause_watch.ts";

const watch = new PauseWatch();

Deno.addSignalListener("SIGUSR2", () => {
  const line = JSON.stringify({ pauses: watch.take() });
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
});
