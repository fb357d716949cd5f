// Applications that tell which of them was reached.
import { readExactly, readFull, writeAll } from "./socks5.ts";

export interface NamedApp extends AsyncDisposable {
  readonly port: number;
}

/** Answers whatever it is sent with `<name>` and a line's end, each time; ends when its client does. */
export function serveName(hostname: string, name: string): NamedApp {
  return serve(hostname, () => Promise.resolve(name));
}

/** As a waypoint behind a PROXY tunnel: the name is followed by the destination of the header (`PROXY` v2, IPv4). */
export function serveProxied(hostname: string, name: string): NamedApp {
  return serve(hostname, async (connection) => `${name} ${await proxiedTo(connection)}`);
}

function serve(
  hostname: string,
  nameOf: (connection: Deno.TcpConn) => Promise<string>,
): NamedApp {
  const listener = Deno.listen({ hostname, port: 0 });
  const open = new Map<Deno.TcpConn, Promise<void>>();
  const accepting = (async () => {
    for (;;) {
      let connection: Deno.TcpConn;
      try {
        connection = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return; // Closed below.
        if (error instanceof Deno.errors.NotConnected) continue; // The caller is gone again.
        throw error;
      }
      open.set(connection, answer(connection, nameOf).finally(() => open.delete(connection)));
    }
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      const answering = [...open.values()];
      for (const connection of open.keys()) closeOnce(connection);
      await Promise.all(answering);
    },
  };
}

async function answer(
  connection: Deno.TcpConn,
  nameOf: (connection: Deno.TcpConn) => Promise<string>,
): Promise<void> {
  try {
    const line = new TextEncoder().encode(`${await nameOf(connection)}\n`);
    const buffer = new Uint8Array(1_024);
    while (await connection.read(buffer) !== null) await writeAll(connection, line);
  } catch {
    // Whoever called is gone, in whatever way; what it makes of that is its test's to judge.
  }
  closeOnce(connection);
}

function closeOnce(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** The destination in a PROXY v2 header. */
async function proxiedTo(connection: Deno.TcpConn): Promise<string> {
  const head = await readExactly(connection, 16);
  const rest = new Uint8Array(head[14]! << 8 | head[15]!);
  await readFull(connection, rest);
  if (head[12] !== 0x21 || head[13] !== 0x11) throw new Error("No PROXY v2 header over IPv4");
  return `${rest.subarray(4, 8).join(".")}:${rest[10]! << 8 | rest[11]!}`;
}
