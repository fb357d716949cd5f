// The data plane's worker as it is; its first message says besides what the isolate is still allowed to do.
import "../../src/isolate/data_plane_worker.ts";

const NAMES = ["ffi", "net", "read", "write", "env", "run", "sys"] as const;

const post = MessagePort.prototype.postMessage as (message: unknown) => void;
MessagePort.prototype.postMessage = function (message) {
  if (message.kind === "opened") {
    const granted = NAMES.filter((name) =>
      Deno.permissions.querySync({ name }).state === "granted"
    );
    message.info.openssl = `granted: ${granted.join(" ")}`;
  }
  post.call(this, message);
};
