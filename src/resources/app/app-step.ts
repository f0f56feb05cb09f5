// What can be done about an app: planned in app-plan.ts, carried out in app-reconciler.ts.

import type { AnyStep } from "../../kernel/plan.ts";
import type { Placement } from "./app.ts";
import type { EdgeDeclaration, EdgeServer, EdgeTraffic } from "./app-driver.ts";

export type AppStep =
  | (AnyStep & { readonly do: "start-instance"; readonly instance: InstanceOrder })
  | (AnyStep & {
      readonly do: "join-pool";
      readonly server: Omit<EdgeServer, "state" | "requests">;
    })
  | (AnyStep & { readonly do: "drain-server" | "leave-pool"; readonly server: EdgeServer })
  | (AnyStep & { readonly do: "declare-edge"; readonly declaration: EdgeDeclaration })
  | (AnyStep & { readonly do: "shift-traffic"; readonly traffic: EdgeTraffic })
  | (AnyStep & { readonly do: "withdraw-edge" | "drop-data" | "drop-copy" })
  | (AnyStep & { readonly do: "make-copy"; readonly label: string })
  | (AnyStep & {
      readonly do: "terminate-instance" | "kill-instance" | "remove-instance";
      readonly name: string;
    });

/** Which instance to start; the reconciler adds artifact, variables and limits. */
export interface InstanceOrder {
  readonly name: string;
  readonly component: string;
  readonly role: "service" | "worker" | "task";
  readonly index: string;
  readonly placement: Placement;
  readonly command: string;
  readonly takesInput?: boolean;
}
