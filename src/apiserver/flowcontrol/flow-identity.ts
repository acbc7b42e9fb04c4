/** How API Priority and Fairness classified a request. */

/** The classification of each request, for response headers. By uid, so that names chosen by administrators are not disclosed. */
export interface FlowIdentity {
  readonly schemaUid: string;
  readonly levelUid: string;
}
