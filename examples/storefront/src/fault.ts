// A release can be made bad on purpose, so that bad releases can be shown: STOREFRONT_FAULT.

export type Fault =
  | { readonly kind: "none" | "crash-at-start" | "never-healthy" | "broken-migration" | "leak" }
  | { readonly kind: "errors" | "hang"; readonly share: number }
  | { readonly kind: "slow"; readonly ms: number }
  | { readonly kind: "crash-after"; readonly ms: number };

const LEAK_BYTES_PER_REQUEST = 256 * 1024;

export function parseFault(text: string | undefined): Fault {
  const [kind = "", value = ""] = (text ?? "").split(":");
  switch (kind) {
    case "":
      return { kind: "none" };
    case "errors":
    case "hang":
      return { kind, share: Number.parseFloat(value) / 100 };
    case "slow":
      return { kind, ms: parseMs(value) };
    case "crash-after":
      return { kind, ms: parseMs(value) };
    case "crash-at-start":
    case "never-healthy":
    case "broken-migration":
    case "leak":
      return { kind };
    default:
      throw new Error(`STOREFRONT_FAULT=${text} is not a fault of this shop`);
  }
}

function parseMs(text: string): number {
  const value = Number.parseFloat(text);
  return text.endsWith("ms") ? value : value * 1000;
}

export const fault = parseFault(process.env["STOREFRONT_FAULT"]);

/** Faults that show at the start of a process. */
export function failAtStart(): void {
  if (fault.kind === "crash-at-start") throw new Error("STOREFRONT_FAULT: crash at start");
  if (fault.kind === "crash-after") {
    setTimeout(() => {
      console.error(`STOREFRONT_FAULT: crash after ${fault.ms} ms`);
      process.exit(1);
    }, fault.ms);
  }
}

const leaked: Buffer[] = [];

/** Faults that show in a request. True where it should fail. */
export async function failRequest(): Promise<boolean> {
  if (fault.kind === "slow") await new Promise((resolve) => setTimeout(resolve, fault.ms));
  if (fault.kind === "hang" && Math.random() < fault.share) await new Promise(() => undefined);
  if (fault.kind === "leak") leaked.push(Buffer.alloc(LEAK_BYTES_PER_REQUEST, 1));
  return fault.kind === "errors" && Math.random() < fault.share;
}
