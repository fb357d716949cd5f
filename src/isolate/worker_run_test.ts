// The worker's part that is not native, in this isolate: messages by turns, the flag of the wake-up, the end.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { receiveMessageOnPort } from "node:worker_threads";
import { CLIENT_IP, DataPlaneWorld } from "../../tests/support/data_plane_world.ts";
import type { Task } from "../base/clock.ts";
import { DeadlineError } from "../base/errors.ts";
import type { FromDataPlane, ToDataPlane } from "./messages.ts";
import { type RuntimeHooks, runWorker, TURN_MESSAGES_MAX } from "./worker_run.ts";

const HEALTH = {
  loop: { turns: 2, wakes: 1, turnP99Us: 480, turnMaxUs: 900 },
  nativeObjects: { socket: 3 },
};

/** A worker on a memory network, driven by hand. */
class Scene implements Disposable {
  readonly port: MessagePort;
  readonly flag = new Int32Array(new SharedArrayBuffer(4));
  readonly tasks: Task[] = [];
  readonly calls: string[] = [];
  hooks!: RuntimeHooks;
  #stopped: () => void = () => {};
  readonly #other: MessagePort;

  constructor(world: DataPlaneWorld, fails: Error | null = null) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.#other = port2;
    const start = {
      port: port2,
      wakeFlag: this.flag.buffer as SharedArrayBuffer,
      runtime: "options",
      logLevel: "info",
    } as const;
    try {
      runWorker(start, (options, hooks) => {
        assertEquals(options, "options");
        if (fails !== null) throw fails;
        this.hooks = hooks;
        return {
          network: world.network(CLIENT_IP),
          clock: world.clock,
          pins: { pin() {}, unpin() {} },
          info: { openssl: "x", fips: null, policy: "default" },
          wakeFd: 7,
          nextTurn: (task) => this.tasks.push(task),
          health: () => HEALTH,
          pauseAccepts: (paused) => this.calls.push(`pause ${paused}`),
          run: (stopped) => void (this.#stopped = stopped),
          stop: () => this.calls.push("stop"),
          close: () => ({ socket: 3 }),
        };
      }, () => ({ usedBytes: 1, limitBytes: 2 }));
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  post(message: ToDataPlane): void {
    this.port.postMessage(message);
  }

  stopped(): void {
    this.#stopped();
  }

  /** What the worker said since the last call. */
  said(): FromDataPlane[] {
    const messages: FromDataPlane[] = [];
    for (;;) {
      const received = receiveMessageOnPort(this.port as never);
      if (received === undefined) return messages;
      messages.push(received.message as FromDataPlane);
    }
  }

  [Symbol.dispose](): void {
    this.port.close();
    this.#other.close();
  }
}

Deno.test("a wake-up lowers the flag, then reads all there is", async () => {
  using scene = new Scene(await DataPlaneWorld.create());
  assertEquals(scene.said().map(({ kind }) => kind), ["opened"]);
  Atomics.store(scene.flag, 0, 1);
  for (let count = 0; count < 3; count++) scene.post({ kind: "ping", logLevel: "info" });
  scene.hooks.onWake();
  assertEquals(Atomics.load(scene.flag, 0), 0);
  assertEquals(
    scene.said(),
    Array(3).fill({ kind: "pong", heapUsedBytes: 1, heapLimitBytes: 2, health: HEALTH }),
  );
  assertEquals(scene.tasks.length, 0);
});

Deno.test("TURN_MESSAGES_MAX messages are handled in a turn, the others in the next", async () => {
  using scene = new Scene(await DataPlaneWorld.create());
  scene.said();
  for (let count = 0; count < TURN_MESSAGES_MAX - 1; count++) {
    scene.post({ kind: "ping", logLevel: "info" });
  }
  scene.hooks.onWake();
  assertEquals([scene.said().length, scene.tasks.length], [TURN_MESSAGES_MAX - 1, 0]);
  for (let count = 0; count < TURN_MESSAGES_MAX + 1; count++) {
    scene.post({ kind: "ping", logLevel: "info" });
  }
  scene.hooks.onWake();
  assertEquals([scene.said().length, scene.tasks.length], [TURN_MESSAGES_MAX, 1]);
  scene.tasks[0]!.runTask();
  assertEquals([scene.said().length, scene.tasks.length], [1, 1]);
});

Deno.test("a message whose handling throws is a bug that is told, and the next is handled", async () => {
  using scene = new Scene(await DataPlaneWorld.create());
  scene.said();
  scene.post({ kind: "read", batches: 5 }); // More than was sent.
  scene.post({ kind: "ping", logLevel: "info" });
  scene.hooks.onWake();
  const [bug, pong] = scene.said();
  assert(bug!.kind === "bug");
  assertEquals(pong!.kind, "pong");
});

Deno.test("close stops the loop; what is left afterwards is told last", async () => {
  using scene = new Scene(await DataPlaneWorld.create());
  scene.said();
  scene.post({ kind: "close" });
  scene.hooks.onWake();
  assertEquals([scene.calls, scene.said()], [["stop"], []]);
  scene.stopped();
  assertEquals(scene.said(), [{ kind: "closed", leaked: { socket: 3 } }]);
});

Deno.test("a control isolate that is gone stops the loop", async () => {
  using scene = new Scene(await DataPlaneWorld.create());
  scene.hooks.onGone();
  assertEquals(scene.calls, ["stop"]);
});

Deno.test("warnings, bugs and refusals of the runtime are told", async () => {
  const world = await DataPlaneWorld.create();
  using scene = new Scene(world);
  scene.said();
  scene.hooks.onWarning("SO_REUSEPORT is refused");
  scene.hooks.onBug(new Error("boom"));
  scene.hooks.onRefused(10);
  world.clock.advance(2000);
  const said = scene.said();
  assertEquals(said.map(({ kind }) => kind), ["events", "bug", "refused"]);
  assert(JSON.stringify(said[0]).includes("SO_REUSEPORT is refused"));
});

Deno.test("what cannot start says why; a bug there is the worker's end", async () => {
  const world = await DataPlaneWorld.create();
  using scene = new Scene(world, new DeadlineError());
  assertEquals(scene.said(), [
    { kind: "failed", code: "DEADLINE_ELAPSED", message: "deadline has elapsed" },
  ]);
  assertThrows(() => new Scene(world, new Error("boom")), Error, "boom");
});
