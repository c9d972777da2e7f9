"""What a model writes, taken apart: thoughts, tool calls, and the answer itself.

    style.Style          how a model thinks and calls, told from its chat template and its vocabulary
    reading.Reading      what that means for one request
    answer.Answer        text in, parts out; one per choice, pure, any thread
    formats              the ways in which models write calls: reading, writing, and the grammar that demands them
    forcing              a demanded call as a grammar
    events.AnswerEvents  the events of a request, as its caller reads them; event loop

Work per character is bounded; text is held back only for as long as it could still be a mark.
"""
