/** Annotations of Nodes by which the remediation controller, node agents and autoscalers meet. */

/** JSON of what is being done about the Node. */
export const REMEDIATION_STATE = 'remediation.capstan.dev/state';
/** The boot ID of the boot that is to end: the node agent runs its reboot command while it has this one. */
export const REBOOT_REQUESTED = 'remediation.capstan.dev/reboot-requested';
/** Since when the machine is to be replaced: whoever adds and removes machines removes this one. */
export const REPLACE_REQUESTED = 'remediation.capstan.dev/replace-requested';
