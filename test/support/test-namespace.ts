// A network namespace with one cable to this machine: somebody outside, for tests.

import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { type Argv, run } from "../../src/drivers/exec.ts";

export class TestNamespace {
  readonly #name: string;
  /** This machine, as seen from there. */
  readonly address: string;

  private constructor(name: string, address: string) {
    this.#name = name;
    this.address = address;
  }

  /** Undefined where this machine does not let us. */
  static async open(): Promise<TestNamespace | undefined> {
    const id = process.pid % 65_536;
    const name = `hft${id}`;
    const subnet = `10.254.${id % 256}`;
    const commands = [
      `ip netns add ${name}`,
      `ip link add ${name}a type veth peer name ${name}b netns ${name}`,
      `ip addr add ${subnet}.1/24 dev ${name}a`,
      `ip link set ${name}a up`,
      `ip -n ${name} addr add ${subnet}.2/24 dev ${name}b`,
      `ip -n ${name} link set ${name}b up`,
    ];
    const made = new TestNamespace(name, `${subnet}.1`);
    for (const command of commands) {
      if (await succeeds(command.split(" "))) continue;
      await made.close();
      return undefined;
    }
    // Who reaches nothing proves nothing: what is open to everybody must be open to this one.
    const open = createServer().listen(0, "0.0.0.0");
    await once(open, "listening");
    const isConnected = await made.reaches((open.address() as AddressInfo).port);
    open.close();
    if (isConnected) return made;
    await made.close();
    throw new Error("the test's network namespace does not reach this machine at all");
  }

  /** Whether somebody there can connect to a port of this machine. */
  async reaches(port: number): Promise<boolean> {
    const script = `const s = require("node:net").connect(${port}, "${this.address}"); s.setTimeout(1500, () => process.exit(7)); s.on("connect", () => process.exit(0)); s.on("error", () => process.exit(7));`;
    const argv = ["ip", "netns", "exec", this.#name, process.execPath, "-e", script] as const;
    return (await run(argv)).code === 0;
  }

  async close(): Promise<void> {
    await succeeds(["ip", "netns", "del", this.#name]);
  }
}

/** Whether this machine lets us filter packets, asked without a word of the product's rules. */
export const mayFilter = (): Promise<boolean> =>
  succeeds(["nft", "--check", "add table inet holdfast_probe"]);

const succeeds = (argv: readonly string[]): Promise<boolean> =>
  run(argv as Argv).then(
    ({ code }) => code === 0,
    () => false,
  );

export const answersAt = (host: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, host, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
    socket.setTimeout(1_500, () => socket.destroy(new Error("no answer")));
  });
