"""Input and output of clips: any video, animation or picture as 4:2:0 planes, and back."""
