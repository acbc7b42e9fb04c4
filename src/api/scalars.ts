/** The JSON forms of scalar API types that are more than a plain string. */

/** An amount with a suffix: '500m', '1Gi'. The API server writes the canonical string, whatever form a client sent. */
export type Quantity = string;

/** A number, or a string such as '25%' or a port's name. */
export type IntOrString = number | string;
