// Each odd certificate in handshakes on OpenSSL, with the alert that its owner hears.
import { NativeTls } from "../../../tests/support/native_tls.ts";
import { oddHandshakes } from "../../../tests/support/odd_handshakes.ts";

oddHandshakes("native", () => new NativeTls());
