// The client side of SOCKS5 (RFC 1928), no authentication, as tests need it.

export const SOCKS5_PORT = 15080;

/** Connects through the proxy on `proxyIp` to an IPv4 address. The caller closes it. */
export async function connectSocks5(
  proxyIp: string,
  target: { readonly ip: string; readonly port: number },
): Promise<Deno.TcpConn> {
  const connection = await Deno.connect({ hostname: proxyIp, port: SOCKS5_PORT });
  try {
    connection.setNoDelay(true);
    await writeAll(connection, new Uint8Array([5, 1, 0]));
    const greeting = await readExactly(connection, 2);
    if (greeting[1] !== 0) throw new Error(`SOCKS5 greeting answered with ${greeting[1]}`);
    const octets = target.ip.split(".").map(Number);
    const port = [target.port >> 8, target.port & 255];
    await writeAll(connection, new Uint8Array([5, 1, 0, 1, ...octets, ...port]));
    const reply = await readExactly(connection, 10);
    if (reply[1] !== 0) throw new Error(`SOCKS5 request answered with ${reply[1]}`);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** `write()` of the runtime may take less than it is given. */
export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

/** Reads exactly `count` octets. */
export async function readExactly(
  connection: Deno.Conn,
  count: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  await readFull(connection, bytes);
  return bytes;
}

/** Fills `target`. */
export async function readFull(connection: Deno.Conn, target: Uint8Array): Promise<void> {
  for (let done = 0; done < target.length;) {
    const got = await connection.read(target.subarray(done));
    if (got === null) throw new Error(`The peer ended after ${done} of ${target.length} octets`);
    done += got;
  }
}
