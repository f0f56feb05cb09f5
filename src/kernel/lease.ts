// A lease is a time-bound exclusive right with an owner. It is not a lock: one whose owner died
// simply runs out, and the error says who holds it and until when.

import { transient } from "./error.ts";

export interface LeaseStore {
  /** Takes the lease, or extends it for the same owner; otherwise says who holds it. */
  acquire(name: string, owner: string, ttlMs: number): { owner: string; expiresAt: number };
  /** Gives it back; harmless for one who does not hold it. */
  release(name: string, owner: string): void;
}

export interface Lease {
  readonly name: string;
  readonly owner: string;
  readonly ttlMs: number;
}

/** Takes the lease; throws `lease.held` where another has it. */
export function takeLease(leases: LeaseStore, lease: Lease): void {
  const held = leases.acquire(lease.name, lease.owner, lease.ttlMs);
  if (held.owner === lease.owner) return;
  const until = new Date(held.expiresAt).toISOString();
  throw transient("lease.held", `${lease.name} is held by ${held.owner} until ${until}`, {
    hint: "it is tried again by itself; a lease whose owner died runs out at that time",
  });
}
