// The simplest application behind a proxy.

/** Sends back what it gets and passes half-close on. */
export function serveEcho(hostname: string): AsyncDisposable & { readonly port: number } {
  const listener = Deno.listen({ hostname, port: 0 });
  const open = new Set<Promise<void>>();
  const accepting = (async () => {
    for (;;) {
      let connection: Deno.TcpConn;
      try {
        connection = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return; // Closed below.
        // Whoever called was gone again before it was asked for its address.
        if (error instanceof Deno.errors.NotConnected) continue;
        throw error;
      }
      // A reset by the peer ends one connection; what it means is the client's to judge.
      const served = connection.readable.pipeTo(connection.writable).catch(() => {})
        .finally(() => open.delete(served));
      open.add(served);
    }
  })();
  return {
    port: listener.addr.port,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(open);
    },
  };
}
