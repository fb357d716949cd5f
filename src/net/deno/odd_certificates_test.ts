// Each odd certificate in handshakes of the runtime.
import { oddHandshakes } from "../../../tests/support/odd_handshakes.ts";
import { RealNetwork } from "../../../tests/support/real_sockets.ts";

oddHandshakes("deno", () => new RealNetwork());
