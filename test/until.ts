/** Waiting for what another thread, another process or a socket does. */
import { setTimeout } from 'node:timers/promises'

/**
 * Resolves when the condition holds. It is looked at each millisecond: a loop without a pause would take the core that
 * the others need.
 */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await setTimeout(1)
}
