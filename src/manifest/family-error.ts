/** A family that cannot be served. `problems` lists everything found, each with its file and field. */
export class FamilyError extends Error {
  constructor(
    subject: string,
    readonly problems: readonly string[],
  ) {
    super(`${subject} is broken:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`)
    this.name = 'FamilyError'
  }
}
