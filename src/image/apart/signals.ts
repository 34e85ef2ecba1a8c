/** Signals of which the launcher and the processes that decode take no notice. */

/**
 * A terminal and systemd send the first three to all processes of a service, which then stops in order: images in flight
 * are still to be decoded. By default SIGUSR1 opens a debugger, in which every user of the machine could run code.
 */
const IGNORED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1']

export function ignoreSignals(): void {
  for (const signal of IGNORED) process.on(signal, () => {})
}
