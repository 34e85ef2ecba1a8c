/** A command of the terminal, run in this process. */
import { type Command, CommanderError } from 'commander'

/** Returns what it printed, and the error text if it failed. @throws what it threw otherwise */
export async function runCommand(
  command: Command,
  ...args: string[]
): Promise<{ out: string; error: string }> {
  const result = { out: '', error: '' }
  for (const each of [command, ...command.commands])
    each.exitOverride().configureOutput({
      writeOut: (text) => {
        result.out += text
      },
      writeErr: (text) => {
        result.error += text
      },
    })
  try {
    await command.parseAsync(args, { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
  }
  return result
}
