// Everything a proxy can meet on the network, on Node's own TLS and HTTP/2: applications, HBONE peers, gateways, clients of
// its 15008. Reads commands as lines of JSON, prints what happens as lines of JSON.
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { createInterface } from "node:readline";
import tls from "node:tls";

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);
const quiet = (emitter) => emitter.on("error", () => {});
const addressOf = (ip, port) => ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
const leafOf = ({ cert, key, root }) => ({
  cert: readFileSync(cert),
  key: readFileSync(key),
  ca: readFileSync(root),
});

const commands = {
  /** An application that says where it was reached. */
  app({ ip, port }, done) {
    const at = addressOf(ip, port);
    const server = net.createServer({ allowHalfOpen: true }, (socket) => {
      quiet(socket);
      say({ met: "app", at, from: socket.remoteAddress });
      socket.write(`app ${at}\n`);
      socket.on("data", () => {});
      socket.on("end", () => socket.end());
    });
    server.listen(port, ip, () => done({}));
  },

  /** A CONNECT server; with `forward` a gateway, which passes octets on to that port of its own loopback. */
  hbone({ ip, port, leaf, status = 200, forward = null, baggage = null, silent = false }, done) {
    const at = addressOf(ip, port);
    const server = http2.createSecureServer({
      ...leafOf(leaf),
      minVersion: "TLSv1.3",
      requestCert: true,
      rejectUnauthorized: true,
    });
    let sessions = 0;
    server.on("tlsClientError", (error) => say({ met: "tls-error", at, code: error.code }));
    server.on("session", (session) => {
      const number = ++sessions;
      quiet(session);
      const { socket } = session;
      const tlsFacts = {
        peer: socket.getPeerCertificate().subjectaltname,
        sni: socket.servername,
        alpn: session.alpnProtocol,
        version: socket.getProtocol(),
      };
      session.on("goaway", (code) => say({ met: "goaway", at, session: number, code }));
      session.on("close", () => say({ met: "session-end", at, session: number }));
      session.on("stream", (stream, headers) => {
        quiet(stream);
        const { ...plain } = headers;
        say({
          met: "connect",
          at,
          session: number,
          headers: plain,
          ...tlsFacts,
          settings: session.remoteSettings,
        });
        stream.on(
          "close",
          () => say({ met: "stream-end", at, session: number, code: stream.rstCode }),
        );
        if (silent) return;
        const answer = { ":status": status, ...baggage === null ? {} : { baggage } };
        if (status !== 200) return stream.respond(answer, { endStream: true });
        if (forward === null) {
          stream.respond(answer);
          stream.write(`hbone ${at} ${headers[":authority"]}\n`);
          stream.on("data", () => {});
          stream.on("end", () => stream.end());
          return;
        }
        const inner = net.connect({ port: forward, host: "127.0.0.1", allowHalfOpen: true });
        quiet(inner);
        inner.on("connect", () => {
          stream.respond(answer);
          stream.pipe(inner).pipe(stream);
        });
      });
    });
    server.listen(port, ip, () => done({}));
  },

  /** One request to a 15008; its status, headers and first line. */
  call(
    {
      ip,
      port = 15008,
      leaf,
      from = null,
      method = "CONNECT",
      authority,
      headers = {},
      send = "hi\n",
      hold = false,
    },
    done,
  ) {
    const options = { host: ip, port, ALPNProtocols: ["h2"], rejectUnauthorized: false };
    const socket = tls.connect({
      ...options,
      ...leaf === null ? {} : leafOf(leaf),
      ...from === null ? {} : { localAddress: from },
      minVersion: "TLSv1.3",
    });
    const result = { text: "" };
    let over = false;
    const finish = (more) => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      done({ ...result, ...more });
      session?.destroy();
      socket.destroy();
    };
    const timer = setTimeout(() => finish({ ended: "timeout" }), 8_000);
    let session = null;
    socket.on("error", (error) => finish({ ended: error.code ?? String(error) }));
    socket.on("secureConnect", () => {
      session = http2.connect(`https://${addressOf(ip, port)}`, { createConnection: () => socket });
      session.on("error", (error) => finish({ ended: `session ${error.code}` }));
      session.on("close", () => finish({ ended: "session closed" }));
      const request = session.request(
        method === "CONNECT" ? { ":method": method, ":authority": authority, ...headers } : {
          ":method": method,
          ":authority": authority,
          ":path": "/",
          ":scheme": "https",
          ...headers,
        },
      );
      request.on("error", (error) => finish({ ended: `stream ${error.code}` }));
      request.on("response", (answer) => {
        const { date: _, ...plain } = answer;
        result.headers = plain;
        result.settings = session.remoteSettings;
        if (answer[":status"] === 200) request.write(send);
      });
      request.on("data", (chunk) => {
        result.text += chunk.toString("latin1");
        if (result.text.includes("\n") && !hold) request.end();
      });
      request.on("end", () => finish({ ended: "end", code: request.rstCode }));
      request.on("close", () => finish({ ended: "close", code: request.rstCode }));
    });
  },
};

/** Plain TCP to the pod: the first line that comes, and how it ended. */
commands.plain = ({ ip, port, from, hold = false }, done) => {
  const socket = net.connect({ host: ip, port, localAddress: from });
  const result = { text: "" };
  let over = false;
  const finish = (ended) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    socket.destroy();
    done({ ...result, ended });
  };
  const timer = setTimeout(() => finish("timeout"), 8_000);
  socket.on("connect", () => socket.write("hi\n"));
  socket.on("data", (chunk) => {
    result.text += chunk.toString("latin1");
    if (result.text.includes("\n") && !hold) finish("line");
  });
  socket.on("end", () => finish("end"));
  socket.on("error", (error) => finish(error.code));
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, command, ...options } = JSON.parse(line);
  commands[command](options, (answer) => say({ id, answer }));
}).on("close", () => process.exit(0));
say({ id: 0, answer: {} });
