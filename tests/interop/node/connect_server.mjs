// Node's http2 as CONNECT server: an echo behind mutual TLS.
//   node connect_server.mjs <ip> <cert> <key> <root>
// Prints lines of JSON: `listening`, then one for each request with what the client showed.
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [ip, cert, key, root] = process.argv.slice(2);
const server = http2.createSecureServer({
  cert: readFileSync(cert),
  key: readFileSync(key),
  ca: readFileSync(root),
  minVersion: "TLSv1.3",
  requestCert: true,
  rejectUnauthorized: true,
  // Small and odd, so that our side meets other limits than its own.
  settings: { initialWindowSize: 100_003, maxFrameSize: 20_000, maxConcurrentStreams: 50 },
});
server.on("session", (session) => {
  const { subjectaltname } = session.socket.getPeerCertificate();
  session.on("error", (error) => process.stderr.write(`${error}\n`));
  session.on("stream", (stream, headers) => {
    const settings = session.remoteSettings;
    process.stdout.write(`${JSON.stringify({ peer: subjectaltname, headers, settings })}\n`);
    stream.on("error", (error) => process.stderr.write(`${error}\n`));
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
});
server.listen(15008, ip, () => process.stdout.write(`"listening"\n`));
