/** How API Priority and Fairness classified a request. */

/** Kept for each request whose answer tells how it was classified. By uid, so that names chosen by administrators stay theirs. */
export interface FlowIdentity {
  readonly schemaUid: string;
  readonly levelUid: string;
}
